"""What is published is registered by the command that publishes it, once, and where MLflow is away
by a later one.
"""

import multiprocessing
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from mlflow_server import free_port

from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.runs.make import make_runs
from pipeline.runs.publish import publish
from pipeline.runs.run import Run
from pipeline.tracking import published
from pipeline.tracking.database import connect
from pipeline.tracking.entry import Store
from pipeline.tracking.shipper import Shipper
from pipeline.tracking.trainings import recorded, register
from tests.golden.record import FOLDER


@pytest.fixture
def call(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A call in a copy of the project whose runs are trained."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = tmp_path / "project"
    shutil.copytree(trained, project, symlinks=True)
    params = load(FOLDER / "params.yaml", ["tracking.required=false"])
    return Call(Namespace(params=None, set=[], out=None), params, project, Folders(project))


def run_of(call: Call, task: str, variant: str) -> Run:
    section = getattr(call.params, task)
    shards = call.project / "data" / "shards" / section.dataset
    (run,) = make_runs(call, task, section, variant, (0,), shards)
    return run


def record(call: Call, run: Run) -> None:
    """Do what a command does whose run is finished."""
    with recorded(call, [run]) as ready:
        ready()
    publish(call, [run])
    register(call, [run])


def test_what_is_published_is_registered_once(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(call, "segment", "dwnet")
    record(call, run)
    client = connect(f"sqlite:///{call.project / 'mlflow.db'}")
    first = client.get_model_version_by_alias("segment-dwnet", "published")
    assert client.get_run(first.run_id).data.tags["run_id"] == run.id

    monkeypatch.setattr("pipeline.tracking.trainings.shipped", None)  # and nothing is started
    register(call, [run])
    assert len(client.search_model_versions("name = 'segment-dwnet'")) == 1


def test_one_process_brings_all_that_a_command_has(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []
    start = Shipper.__init__

    def counted(self: Shipper, store: Store, storage: Path) -> None:
        started.append(storage)
        start(self, store, storage)

    monkeypatch.setattr(Shipper, "__init__", counted)
    record(call, run_of(call, "segment", "dwnet"))
    assert len(started) == 1
    assert [one.name for one in multiprocessing.active_children() if one.name == "shipper"] == []


def test_an_ad_hoc_result_is_not_what_the_project_publishes(call: Call, tmp_path: Path) -> None:
    elsewhere = Call(call.args, call.params, call.project, Folders(tmp_path / "adhoc"))
    register(elsewhere, [run_of(call, "segment", "dwnet")])
    assert not (call.project / "runs" / "published").exists()


def test_while_mlflow_is_away_publishing_says_nothing_more_and_a_later_command_brings_it(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(call, "segment", "dwnet")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    record(call, run)
    assert capsys.readouterr().out.count("does not answer") == 2  # of the run: at once, and last
    assert (call.project / "results/segment/dwnet/metrics.json").exists()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    client = connect(f"sqlite:///{call.project / 'mlflow.db'}")
    published.write(call, run)
    with recorded(call, [run]) as ready:
        ready()
    assert client.get_model_version_by_alias("segment-dwnet", "published").version
