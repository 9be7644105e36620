"""Published networks in MLflow's registry: MLflow's own loaders give them bit for bit, from
anywhere, and the same weights are registered once.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import models
from pipeline.core.files import write_json
from pipeline.runs.spool import Spool
from pipeline.runs.weights import weights_digest
from pipeline.tracking.database import connect
from pipeline.tracking.entry import Entry, EntryFile, Store
from pipeline.tracking.published import Published, PublishedFile
from pipeline.tracking.shipper import Shipping

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOAD = """
import io, json, sys
import mlflow, numpy, torch
from mlflow.pyfunc.scoring_server import predictions_to_json

mlflow.set_tracking_uri(sys.argv[1])
for name in sys.argv[3:]:
    uri = f"models:/{name}@published"
    path = mlflow.artifacts.download_artifacts(uri)
    model = mlflow.pytorch.load_model(uri)
    example = mlflow.models.Model.load(path).load_input_example(path)
    two_inputs = isinstance(example, dict)  # a detector's
    shape = numpy.asarray(example["images"] if two_inputs else example).shape
    torch.manual_seed(0)
    images = torch.randn(2, *shape[1:])
    sizes = [images.shape[2:]] * 2
    with torch.no_grad():
        out = model(images, sizes) if two_inputs else model(images)
    torch.save((images, out), f"{sys.argv[2]}/{name}.pt")

    given = images.numpy()
    asked = {"images": given, "sizes": numpy.array(sizes)} if two_inputs else given
    served = mlflow.pyfunc.load_model(uri).predict(asked)
    if two_inputs:
        for mine, theirs in zip(served, out, strict=True):
            for key, values in theirs.items():
                assert numpy.array_equal(mine[key], values), (name, key)
        text = io.StringIO()
        predictions_to_json(served, text)
        assert len(json.loads(text.getvalue())["predictions"]) == len(images)
    else:
        assert numpy.array_equal(served, out), name
"""
NETWORKS = [("classify", "dwnet"), ("classify", "timm"), ("detect", "dwnet"), ("segment", "swin")]


@dataclass
class Bench:
    """A store, and a folder of runs whose published networks it gets."""

    client: "MlflowClient"
    storage: Path

    def publish(self, folder: Path, task: str, variant: str) -> PublishedFile:
        """Have MLflow told of a run, and of what was published from it."""
        run = EntryFile(self.storage, self.storage / f"{task}-{variant}", task)
        entry = Entry(
            store="there",
            experiment=task,
            run_id=run.key,
            name=variant,
            status="FINISHED",
            tags={},
            params={},
        )
        run.write(entry)
        if not run.spool.exists():
            Spool(run.spool, 0, 10).write_evaluation({"step": 10, "epoch": 1.0, "top1": 7.0})
        digest = weights_digest(folder / "model.safetensors")
        network = Published(
            store="there",
            experiment=task,
            variant=variant,
            run=run.key,
            folder=str(folder),
            weights=digest,
        )
        file = PublishedFile(self.storage, network.name)
        write_json(file.path, network.model_dump(mode="json"))
        assert Shipping(Store(self.client.tracking_uri, "there"), self.storage).round() is None
        return file

    def versions(self, name: str) -> list[int]:
        found = self.client.search_model_versions(f"name = '{name}'")
        return sorted(int(version.version) for version in found)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(connect(f"sqlite:///{tmp_path / 'mlflow.db'}"), tmp_path / "runs")


def test_mlflow_gives_the_published_networks_bit_for_bit_in_any_folder(
    bench: Bench, trained: Path, tmp_path: Path
) -> None:
    folders = {f"{task}-{name}": trained / "results" / task / name for task, name in NETWORKS}
    for (task, variant), folder in zip(NETWORKS, folders.values(), strict=True):
        assert bench.publish(folder, task, variant).settled()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = [bench.client.tracking_uri, str(elsewhere), *folders]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *words], cwd=elsewhere, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, folder in folders.items():
        model = models.load(folder)
        images, found = torch.load(elsewhere / f"{name}.pt")
        more = [[images.shape[2:]] * 2] if name.startswith("detect") else []
        with torch.no_grad():
            torch.testing.assert_close(found, model(images, *more), rtol=0, atol=0)


def test_a_model_belongs_to_its_run_says_what_it_is_and_takes_no_room(
    bench: Bench, trained: Path
) -> None:
    folder = trained / "results" / "classify" / "dwnet"
    bench.publish(folder, "classify", "dwnet")
    version = bench.client.get_model_version_by_alias("classify-dwnet", "published")
    assert version.description.startswith("# dwnet, classification")
    assert (folder / "README.md").read_text().endswith(f"---\n\n{version.description}\n")
    run = bench.client.get_run(version.run_id)
    (output,) = run.outputs.model_outputs
    logged = bench.client.get_logged_model(output.model_id)
    assert logged.status == "READY" and logged.source_run_id == version.run_id
    assert [(one.key, one.value) for one in logged.metrics] == [("eval/top1", 7.0)]
    assert len(bench.client.get_metric_history(run.info.run_id, "eval/top1")) == 1
    weights = Path(logged.artifact_location.removeprefix("file://")) / "data" / "model.pth"
    assert weights.samefile(folder / "model.safetensors")


def test_the_same_weights_are_one_version_whatever_was_forgotten(
    bench: Bench, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(trained / "results" / "classify" / "dwnet", folder)
    file = bench.publish(folder, "classify", "v")
    bench.publish(folder, "classify", "v")
    file.note_path.unlink()  # a kill came before it was noted
    bench.publish(folder, "classify", "v")
    assert bench.versions("classify-v") == [1]

    other = trained / "results" / "classify" / "locally_connected"
    bench.publish(other, "classify", "v")
    assert bench.versions("classify-v") == [1, 2]
    bench.publish(folder, "classify", "v")
    assert int(bench.client.get_model_version_by_alias("classify-v", "published").version) == 1


@pytest.mark.parametrize("step", ["finalize_logged_model", "create_model_version"])
def test_what_a_kill_left_of_a_model_goes_with_the_next_try(
    bench: Bench, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException): ...

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    folder = trained / "results" / "classify" / "dwnet"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(bench.client), step, kill)
        bench.publish(folder, "classify", "v")
    assert bench.versions("classify-v") == []
    experiment = bench.client.get_experiment_by_name("classify").experiment_id
    (left,) = bench.client.search_logged_models([experiment])

    bench.publish(folder, "classify", "v")
    (logged,) = bench.client.search_logged_models([experiment])
    assert logged.model_id != left.model_id and logged.status == "READY"
    assert bench.versions("classify-v") == [1]


def test_results_that_are_gone_hold_up_nothing(
    bench: Bench, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(trained / "results" / "classify" / "dwnet", folder)
    file = bench.publish(folder, "classify", "v")
    file.note_path.unlink()
    shutil.rmtree(folder)
    assert Shipping(Store(bench.client.tracking_uri, "there"), bench.storage).round() is None
    assert not file.settled() and capsys.readouterr().out == ""


def test_torch_reads_published_weights_without_a_pickle(trained: Path) -> None:
    from models.published import torch_load

    file = trained / "results" / "classify" / "dwnet" / "model.safetensors"
    copy = file.read_bytes()
    path = trained / "copy.pth"
    path.write_bytes(copy)
    network = torch.load(path, pickle_module=torch_load)
    expected = models.load(file)
    assert network.classes == expected.classes
    for name, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    path.write_bytes(copy[:100])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        torch.load(path, pickle_module=torch_load)
