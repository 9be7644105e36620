"""A run that nothing bends: ranks, controller and driver are killed at named points, and the world
size changes. The short version is in the tests of `train`.
"""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from killing import (
    INTERVAL,
    STEPS,
    as_fault,
    gone,
    outcome,
    random_points,
    recorded_once,
    reserved,
    run_folder,
    spoil_rays_snapshots,
    starts,
    train,
    train_apart,
    wait_for,
)

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.tracking.entry import EntryFile

Points = list[dict[str, Any]]
FEW: Points = [
    {"point": "step", "rank": 1, "step": 7},
    {"point": "controller.reported", "step": 40},
]
SEALING: Points = [
    {"point": "checkpoint.unsealed", "step": 16},
    {"point": "run.unsealed"},
]
CONTROLLER: Points = [
    {"point": "controller.reported", "step": 10},
    {"point": "controller.reported", "step": 30},
    {"point": "controller.reported", "step": 60},
]
DRIVER = (
    "mlflow.opened",
    "train.ended",
    "mlflow.open",
    "mlflow.closed",
    "results.written",
    "stage.done",
)


@pytest.fixture(scope="module")
def project(small_shards: Path) -> Path:
    return small_shards.parents[2]


@pytest.fixture(scope="module")
def undisturbed(project: Path) -> Any:
    """Return a function: the outcome of a training that nothing disturbs, by number of ranks."""
    known: dict[int, Any] = {}

    def on(world: int) -> Any:
        if world not in known:
            train(project, f"undisturbed{world}", f"cluster.workers={world}")
            known[world] = outcome(project, f"undisturbed{world}")
        return known[world]

    return on


def kill(
    project: Path, folder: Path, out: str, points: Points, world: int, patch: pytest.MonkeyPatch
) -> list[int]:
    """Train with a kill at every point, each met, no more than an interval done again; return where
    it started.
    """
    patch.setenv(failpoints.VARIABLE, as_fault(points, folder))
    train(project, out, "cluster.max_failures=50", f"cluster.workers={world}")
    patch.delenv(failpoints.VARIABLE)
    assert len(list(folder.iterdir())) == len(points), "a point was never met"
    begun = starts(project, out)
    for point, start in zip(points, begun[1:], strict=False):
        assert start >= int(point.get("step", STEPS)) - INTERVAL - 1, (point, start)
    assert reserved() == [], "a dead controller's CPUs are not free"
    return begun


@pytest.mark.faults
@pytest.mark.parametrize("points", [FEW, SEALING])
def test_a_killed_rank_and_a_killed_controller_change_nothing(
    project: Path, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: Points
) -> None:
    out = f"few-{points[0]['point']}"
    assert len(kill(project, tmp_path / "met", out, points, 2, monkeypatch)) == 1 + len(points)
    assert outcome(project, out) == undisturbed(2)
    recorded_once(project, out)


@pytest.mark.faults
@pytest.mark.parametrize("world", [1, 2, 3])
def test_twenty_random_kills_of_a_rank_change_nothing(
    project: Path, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    points = random_points(20, world, seed=world)
    assert (
        len(kill(project, tmp_path / "met", f"twenty{world}", points, world, monkeypatch)) == 1 + 20
    )
    assert outcome(project, f"twenty{world}") == undisturbed(world)
    recorded_once(project, f"twenty{world}")


@pytest.mark.faults
def test_a_controller_killed_three_times_changes_nothing(
    project: Path, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = kill(project, tmp_path / "met", "controller", CONTROLLER, 2, monkeypatch)
    assert len(begun) >= len(CONTROLLER), (
        "after the last step ranks may end the run before they end themselves"
    )
    assert outcome(project, "controller") == undisturbed(2)
    recorded_once(project, "controller")


@pytest.mark.faults
def test_a_driver_killed_in_mid_training_changes_nothing(
    project: Path, undisturbed: Any, tmp_path: Path, ray_address: str
) -> None:
    """Its ranks end with it, and the same command goes on from the newest checkpoint."""
    marker = tmp_path / "met"
    driver = train_apart(
        project, "driver", ray_address, f"step rank=0 step=22 do=wait once={marker}"
    )
    rank = wait_for(marker, driver)
    driver.kill()
    driver.wait()
    spoil_rays_snapshots(project, "driver")
    train(project, "driver")
    assert gone(rank)
    assert outcome(project, "driver") == undisturbed(2)
    assert starts(project, "driver") == [0, 20]
    recorded_once(project, "driver")


@pytest.mark.faults
@pytest.mark.parametrize("point", DRIVER)
def test_a_driver_killed_anywhere_changes_nothing(
    project: Path, undisturbed: Any, tmp_path: Path, ray_address: str, point: str
) -> None:
    out = f"driver-{point}"
    driver = train_apart(project, out, ray_address, f"{point} once={tmp_path / 'met'}")
    assert driver.wait(400) == -signal.SIGKILL and (tmp_path / "met").exists()
    spoil_rays_snapshots(project, out)
    train(project, out)
    assert outcome(project, out) == undisturbed(2)
    recorded_once(project, out)


@pytest.mark.faults
def test_a_kill_between_the_end_and_mlflow_is_made_good(project: Path, undisturbed: Any) -> None:
    """Without Ray: a finished run is recorded to its end, and what nobody trains any more no longer
    says RUNNING.
    """
    from mlflow import MlflowClient

    undisturbed(2)
    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    folder = run_folder(project, "undisturbed2")
    storage, own = folder.parent, EntryFile(folder.parent, folder, "classify")
    written = own.read()
    assert written is not None
    running = written.model_copy(update={"status": "RUNNING"})
    own.write(running)
    old = EntryFile(storage, storage / "old", "classify")
    old.write(running.model_copy(update={"run_id": "old", "begun": 1}))
    train(project, "undisturbed2")
    (abandoned,) = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        "tags.run_id = 'old'",
    )
    assert abandoned.info.status == "KILLED"
    recorded_once(project, "undisturbed2")


@pytest.mark.faults
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_asked_to_end_closes_its_run(
    project: Path, tmp_path: Path, ray_address: str, sent: signal.Signals, code: int
) -> None:
    from mlflow import MlflowClient

    marker, out = tmp_path / "met", f"asked{code}"
    driver = train_apart(project, out, ray_address, f"step rank=0 step=22 do=wait once={marker}")
    rank = wait_for(marker, driver)
    driver.send_signal(sent)
    assert driver.wait(60) == code and gone(rank)
    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    note = json.loads(next((project / f"runs-{out}").glob("*/mlflow/*.note.json")).read_text())
    assert client.get_run(note["run_id"]).info.status == "FAILED"


@pytest.mark.faults
def test_a_run_goes_on_with_another_number_of_ranks(
    project: Path, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks, then one, then two.

    In single precision rounding grows soon; the tests of the loop use double.
    """
    for world, step in ((2, 22), (1, 41)):
        monkeypatch.setenv(
            failpoints.VARIABLE, f"step rank=0 step={step} once={tmp_path / str(step)}"
        )
        with pytest.raises(UserError, match="training failed after 0 restarts"):
            train(project, "worlds", "cluster.max_failures=0", f"cluster.workers={world}")
    monkeypatch.delenv(failpoints.VARIABLE)
    train(project, "worlds")
    assert starts(project, "worlds") == [0, 20, 40]
    header, *rows = outcome(project, "worlds")[1]
    loss, step = header.index("train_loss"), header.index("step")
    for row, expected in zip(rows, undisturbed(2)[1][1:], strict=True):
        bound = (
            1e-6 if int(row[step]) <= 30 else 0.05
        )  # the first interval after a change, and the later ones
        assert float(row[loss]) == pytest.approx(float(expected[loss]), rel=bound), (row, expected)
    recorded_once(project, "worlds")


@pytest.mark.faults
def test_mended_code_may_adopt_a_run(
    project: Path, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, f"step rank=0 step=30 once={tmp_path / 'met'}")
    with pytest.raises(UserError, match="training failed"):
        train(project, "adopt", "cluster.max_failures=0")
    monkeypatch.delenv(failpoints.VARIABLE)
    old = next(
        path for path in (project / "runs-adopt").iterdir() if (path / "checkpoints").is_dir()
    )

    with pytest.raises(
        UserError,
        match=f"--adopt {old.name}: it differs from dwnet_micro seed 8 in seed; a run with other "
        "settings",
    ):
        train(project, "adopt", "classify.seeds=[8]", adopt=old.name)

    from pipeline.runs import identity

    original = identity.decides

    def mended(*args: Any) -> dict[str, Any]:
        decided = original(*args)
        return {**decided, "code": {**decided["code"], "pipeline/training/loop.py": "mended"}}

    monkeypatch.setattr("pipeline.runs.make.decides", mended)
    seed = train(project, "adopt", adopt=old.name)["seeds"][0]
    assert seed["run_id"] != old.name
    assert seed["adopted"] == {"from": old.name, "changed_code": ["pipeline/training/loop.py"]}
    assert outcome(project, "adopt") == undisturbed(2)
    recorded_once(project, "adopt")
