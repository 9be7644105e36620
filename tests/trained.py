"""Trainings within seconds, without Ray: published results of all tasks, of the golden record's
parameters, and whatever a command would train.
"""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from helpers import PROJECT

from pipeline.cluster.workers import prepare_process
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.loading.micro_batches import Ranks
from pipeline.params import Cluster, load
from pipeline.project.call import Call, Folders
from pipeline.runs.make import make_runs
from pipeline.runs.publish import publish
from pipeline.runs.run import Run
from pipeline.training.loop import evaluations
from tests.golden.record import FOLDER, draw_shards

TRAINED = {
    "classify": ("dwnet", "locally_connected", "swin", "timm"),
    "detect": ("dwnet",),
    "segment": ("dwnet", "swin"),
}
"""What is trained, by task."""


def train_all(project: Path) -> Path:
    """Train and publish in a folder; return it."""
    for name in ("pipeline", "models"):
        (project / name).symlink_to(PROJECT / name)
    params = load(FOLDER / "params.yaml")
    call = Call(
        Namespace(params=None, set=[], out=None), params, project, Folders(project.resolve())
    )
    for task, variants in TRAINED.items():
        section = getattr(params, task)
        shards = draw_shards(section.dataset, params, project / "data")
        for variant in variants:
            (run,) = make_runs(call, task, section, variant, (0,), shards)
            assert _train([run], params.cluster) == {}
            write_json(run.folder / "mlflow.json", {"run_id": "m", "settled": True})
            publish(call, [run])
    return project


@contextmanager
def trained_here() -> Iterator[None]:
    """Within the block, commands train in this process, one run after the other, on one rank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.cluster.connection.connected", lambda cluster: nullcontext())
        patch.setattr("pipeline.cluster.groups.train_runs", _train)
        yield


def _train(runs: list[Run], cluster: Cluster) -> dict[str, str]:
    """Train as one worker of Ray's would; return the runs that bad input ended, with the reason."""
    cpu = torch.device("cpu")
    prepare_process(cpu, threads=1)
    wrong = {}
    for run in runs:
        try:
            list(evaluations(run, Ranks(), cpu, lambda model: model))
        except UserError as error:
            wrong[run.id] = str(error)
    return wrong
