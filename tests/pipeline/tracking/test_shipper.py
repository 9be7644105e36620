"""MLflow without Ray: a training is one MLflow run, each step stands there once, and nothing says
RUNNING for ever.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.core.locks import held
from pipeline.runs.spool import Spool
from pipeline.tracking.database import connect
from pipeline.tracking.entry import Entry, EntryFile, Store, by_key, end_abandoned
from pipeline.tracking.runs import identity_of
from pipeline.tracking.shipper import Shipping

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass
class Bench:
    """A store, and folders of runs that ship to it."""

    client: "MlflowClient"

    def ship(self, storage: Path) -> None:
        assert Shipping(Store(self.client.tracking_uri, "there"), storage).round() is None

    def write(self, storage: Path, key: str, *steps: int, **changes: Any) -> EntryFile:
        """Let a run come to some steps, and ship it."""
        file = EntryFile(storage, storage / key, "classify")
        about = {"store": "there", "experiment": "classify", "status": "RUNNING", "tags": {}}
        told = {**about, "run_id": key, "name": key, "params": {"lr": 0.1}, **changes}
        file.write(Entry(**told))
        spool = Spool(file.spool, 0, 10)
        for step in steps:
            spool.write_evaluation({"step": step, "epoch": step / 10, "loss": float(step)})
        self.ship(storage)
        return file

    def run(self, file: EntryFile) -> "Run":
        note = file.note("there")
        assert note is not None
        return self.client.get_run(note.run_id)

    def curve(self, file: EntryFile, name: str = "eval/loss") -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.run(file).info.run_id, name)
        return sorted((point.step, point.value) for point in points)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(connect(f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"))


def test_a_continued_training_is_the_same_mlflow_run_and_each_step_stands_there_once(
    bench: Bench, tmp_path: Path
) -> None:
    file = bench.write(tmp_path, "one", 1, 2, status="FAILED")
    first = bench.run(file).info
    assert first.status == "FAILED"
    bench.write(tmp_path, "one", 2, 3)
    assert bench.run(file).info.run_id == first.run_id
    assert bench.run(file).info.status == "RUNNING"
    for _ in range(2):  # a kill may come before it is noted that MLflow has it
        bench.write(tmp_path, "one", status="FINISHED", metrics={"parameters": 5.0})
        assert file.settled()
        file.note_path.unlink()
        bench.ship(tmp_path)
    assert bench.run(file).info.status == "FINISHED"
    assert bench.curve(file) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert bench.curve(file, "parameters") == [(0, 5.0)]
    assert "eval/epoch" not in bench.run(file).data.metrics


def test_numbers_of_a_search_that_change_are_told_anew(bench: Bench, tmp_path: Path) -> None:
    for mean in (1.0, 1.0, 3.0):
        file = bench.write(tmp_path, "parent", 1, status="FINISHED", metrics={"mean": mean})
    assert bench.run(file).data.metrics["mean"] == 3.0


def test_what_nobody_trains_any_more_is_ended_and_nothing_else(
    bench: Bench, tmp_path: Path
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    files = {name: bench.write(here, name, 1) for name in ("abandoned", "training")}
    files["of another clone"] = bench.write(elsewhere, "another", 1)
    with held(files["training"].folder / "lock", "training"):
        end_abandoned(here)
    bench.ship(here)
    assert {name: bench.run(file).info.status for name, file in files.items()} == {
        "abandoned": "KILLED",
        "training": "RUNNING",
        "of another clone": "RUNNING",
    }


def test_two_clones_that_train_the_same_share_a_run_and_neither_ends_it_for_the_other(
    bench: Bench, tmp_path: Path
) -> None:
    first, second = (bench.write(tmp_path / name / "runs", "same", 1) for name in ("a", "b"))
    assert bench.run(first).info.run_id == bench.run(second).info.run_id
    bench.write(second.storage, "same", status="FAILED")
    assert bench.run(first).info.status == "RUNNING", "the first clone is still at it"
    bench.write(first.storage, "same", 2, status="FINISHED")
    bench.write(second.storage, "same", status="KILLED")
    assert bench.run(first).info.status == "FINISHED"
    assert bench.curve(first) == [(1, 1.0), (2, 2.0)]


def test_a_copy_of_a_folder_of_runs_is_another_one(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "runs")
    assert identity_of(tmp_path / "runs") == first
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    assert identity_of(tmp_path / "copy") != first
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert identity_of(tmp_path / "moved") == first
    (tmp_path / "moved" / "identity.json").write_text("[]")
    assert len(identity_of(tmp_path / "moved")) == len(first)


def test_what_was_deleted_comes_back_when_its_training_goes_on(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bench.write(tmp_path, "deleted", 1)
    first = bench.run(file).info
    bench.client.delete_run(first.run_id)
    bench.write(tmp_path, "deleted", 2)  # in the middle of it
    assert "run deleted was deleted" in capsys.readouterr().out
    bench.client.delete_experiment(first.experiment_id)
    bench.write(tmp_path, "deleted", 3, status="FINISHED")
    sentence = "experiment classify was deleted, and is needed again; it is restored"
    assert sentence in capsys.readouterr().out
    assert bench.run(file).info.lifecycle_stage == "active"
    assert bench.run(file).info.run_id == first.run_id and len(bench.curve(file)) == 3


def test_a_store_that_has_nothing_of_a_run_gets_all_of_it(bench: Bench, tmp_path: Path) -> None:
    file = bench.write(tmp_path / "runs", "elsewhere", 1)
    other = Bench(connect(f"sqlite:///{tmp_path / 'other.db'}"))
    other.write(tmp_path / "runs", "elsewhere", 2)  # the same name of another database
    assert other.curve(file) == [(1, 1.0), (2, 2.0)]


def test_a_variant_with_another_name_goes_on_with_its_run(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bench.write(tmp_path, "renamed", 1, tags={"variant": "v"})
    first = bench.run(file).info
    bench.write(tmp_path, "renamed", 2, name="w", tags={"variant": "w"}, params={"lr": 2, "x": 1})
    data = bench.run(file)
    assert data.info.run_id == first.run_id
    assert data.info.run_name == "w" and data.data.tags["variant"] == "w"
    assert data.data.params == {"lr": "0.1", "x": "1"}
    assert "keeps lr as recorded first" in capsys.readouterr().out


def begun_entry(experiment: str, name: str, begun: int, params: dict[str, int]) -> Entry:
    return Entry(
        store="there",
        experiment=experiment,
        run_id=name,
        name=name,
        status="RUNNING",
        tags={},
        params=params,
        begun=begun,
    )


def test_an_entry_that_mlflow_does_not_take_is_named_once_and_holds_up_no_other(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = EntryFile(tmp_path, tmp_path / "a", "classify")
    wrong.write(begun_entry("classify", "a", 1, {"no [name]": 1}))
    file = bench.write(tmp_path, "b", 1)
    assert bench.curve(file) == [(1, 1.0)]
    assert capsys.readouterr().out.count(f"so {wrong.path} is not recorded") == 1


def test_a_child_has_its_parent(bench: Bench, tmp_path: Path) -> None:
    place = EntryFile(tmp_path, tmp_path / "searches" / "s", "tune")
    place.write(begun_entry("tune", "s", 5, {}))
    child = bench.write(tmp_path, "trial", 1, experiment="tune", parent=place.key)
    assert by_key(tmp_path, place.key) == place
    tags = bench.run(child).data.tags
    assert tags["mlflow.parentRunId"] == bench.run(place).info.run_id
    assert bench.run(place).info.start_time == 5


def test_a_long_curve_is_recorded_whole_and_thinned_by_step(bench: Bench, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "long" / "metrics.jsonl", 0, 5000)
    for step in range(1, 5001):
        spool.step(step, {"train/loss": 1 / step})
    spool.flush()
    file = bench.write(tmp_path, "long")
    steps = [step for step, _ in bench.curve(file, "train/loss")]
    assert steps == list(range(5, 5001, 5))


def test_a_line_that_a_kill_cut_off_is_passed_over(bench: Bench, tmp_path: Path) -> None:
    file = bench.write(tmp_path, "torn", 1)
    with open(file.spool, "a") as lines:
        lines.write('{"step": 2, "ti')
    bench.ship(tmp_path)
    bench.write(tmp_path, "torn", 2)
    assert bench.curve(file) == [(1, 1.0), (2, 2.0)]
