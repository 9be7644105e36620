"""Training for real: Ray Train on two ranks, side by side, MLflow on SQLite; killed, compared over
ranks, refused.
"""

import fcntl
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, Any

import killing
import pytest
import yaml
from helpers import REAL, run_stage
from trained import trained_here

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.params import load
from pipeline.runs.results.files import read_json
from pipeline.runs.results.training import PredictionsFile
from pipeline.runs.run import Run
from pipeline.shards.manifest import Manifest
from pipeline.shards.reader import ShardReader
from pipeline.tasks.base import create

SETTINGS = ("classify.seeds=[7]", "classify.recipe.duration={epochs: 3}")
INTERVAL = 4
AS_WHOLE = (
    *SETTINGS,
    "classify.recipe.micro_batch=8",
    "classify.recipe.micro_batches=2",
    "classify.recipe.evaluate_every={steps: 10}",
    f"classify.recipe.checkpoint_every={{steps: {INTERVAL}}}",
)
"""The steps of the run that nothing interrupts, by other words, which make it a run of its own."""
FLOCK = fcntl.flock


def train(
    project: Path,
    *variants: str,
    out: str,
    settings: tuple[str, ...] = (),
    params: str = "params.yaml",
) -> dict[str, Any]:
    """Train variants into a store and a root of their own; return the first one's published
    metrics.
    """
    options = [*SETTINGS, f"cluster.storage={project}/runs-{out}", *settings]
    flags = [part for option in options for part in ("--set", option)]
    root = project / "out" / out
    run_stage(
        project,
        "pipeline.train",
        "classify",
        *variants,
        "--params",
        params,
        "--out",
        str(root),
        *flags,
    )
    metrics: dict[str, Any] = json.loads(
        (root / "results/classify" / variants[0] / "metrics.json").read_text()
    )
    return metrics


def weights(project: Path, out: str, variant: str = "dwnet_micro") -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(project / "out" / out / "results/classify" / variant / "model.safetensors")


@pytest.fixture(scope="module")
def project(small_shards: Path, ray_cluster: None) -> Path:
    return small_shards.parents[2]


@pytest.fixture(scope="module")
def uninterrupted(project: Path) -> dict[str, Any]:
    """Two variants, each in a group of two ranks: the session's cluster has four CPUs."""
    with redirect_stdout(io.StringIO()) as said:
        metrics = train(project, "dwnet_micro", "dynamic_dwnet_micro", out="whole")
    assert "2 runs in 2 groups of workers, side by side" in said.getvalue()
    return metrics


def test_a_run_publishes_what_it_measured(project: Path, uninterrupted: dict[str, Any]) -> None:
    folder = project / "out/whole/results/classify/dwnet_micro"
    rows = (folder / "history.csv").read_text().splitlines()
    assert uninterrupted["world_size"] == 2 and uninterrupted["data"]["train_samples"] == 160
    assert len(rows) == 1 + 3 and rows[0].startswith("seed,epoch,step")
    final, best = uninterrupted["final"], uninterrupted["best"]
    assert final["step"] == 3 * (160 // 16) and best["top1"] >= final["top1"]
    assert 0 <= final["top1"] <= final["top5"] <= 100
    assert (folder / "samples.png").stat().st_size > 1000


def test_a_killed_rank_driver_and_controller_change_nothing(
    project: Path, uninterrupted: dict[str, Any], tmp_path: Path, ray_address: str
) -> None:
    """One run meets all three; the same command goes on from the newest checkpoint."""
    rank, driver, controller = (tmp_path / name for name in ("rank", "driver", "controller"))
    fault = f"step rank=1 step=7 once={rank};step rank=0 step=14 do=wait once={driver}"
    command = killing.train_apart(project, "three", ray_address, fault, *AS_WHOLE)
    held = killing.wait_for(driver, command)
    command.kill()
    command.wait()
    killing.spoil_rays_snapshots(project, "three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(failpoints.VARIABLE, f"controller.reported step=20 once={controller}")
        killing.train(project, "three", *AS_WHOLE)
    assert rank.exists() and controller.exists() and killing.gone(held)
    begun = killing.starts(project, "three")
    assert begun[:3] == [0, 4, 12] and len(begun) == 4 and begun[3] >= 20 - INTERVAL - 1
    assert killing.reserved() == [], "a dead controller's CPUs are not free"
    curves = [killing.outcome(project, out)[1] for out in ("three", "whole")]
    assert curves[0] == curves[1]
    mine, theirs = weights(project, "three"), weights(project, "whole")
    assert mine.keys() == theirs.keys()
    assert all(mine[name].equal(value) for name, value in theirs.items())
    killing.recorded_once(project, "three", steps=30, every=10)


def test_published_weights_evaluate_to_the_published_metrics(
    project: Path, uninterrupted: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = project / "out/whole/results/classify/dwnet_micro/model.safetensors"
    run_stage(project, "pipeline.evaluate", "classify", "dwnet_micro", "--weights", str(file))
    measured = json.loads(capsys.readouterr().out)
    assert measured["top1"] == uninterrupted["final"]["top1"]
    assert measured["loss"] == pytest.approx(uninterrupted["final"]["loss"], rel=1e-5)


def test_reassessed_labels_judge_the_published_weights(
    project: Path, small_shards: Path, uninterrupted: dict[str, Any]
) -> None:
    """Counted anew from the published weights, by nothing that the evaluation uses; and so is which
    image is right, in the order of the split, though two ranks evaluated.
    """
    import torch

    logic = create(
        "classify",
        load(project / "params.yaml").classify,
        "dwnet_micro",
        Manifest.load(small_shards),
    )
    model = logic.build().eval()
    model.load_state_dict(weights(project, "whole"))
    reader, right, labelled = ShardReader(small_shards, "val"), 0, []
    for shard, size in enumerate(reader.shard_sizes):
        for sample in (
            logic.sampling.eval_sample(reader.read(shard, place)) for place in range(size)
        ):
            with torch.inference_mode():
                guess = int(
                    model(
                        logic.prepare(logic.sampling.collate([sample]), torch.device("cpu"))[
                            "images"
                        ]
                    ).argmax()
                )
            right += guess in REAL[int(sample["key"][-8:]) - 1]
            labelled.append(guess == sample["label"])
    file = project / "out/whole/results/classify/dwnet_micro/predictions.json"
    (kept,) = read_json(file, PredictionsFile).seeds
    assert kept.right.tolist() == labelled
    assert uninterrupted["final"]["real_top1"] == pytest.approx(100 * right / sum(map(bool, REAL)))
    header, *rows = (
        (project / "out/whole/results/classify/dwnet_micro/history.csv").read_text().splitlines()
    )
    place = header.split(",").index("real_top1")
    assert float(rows[-1].split(",")[place]) == uninterrupted["final"]["real_top1"]


def test_mlflow_has_the_run_each_step_once(project: Path, uninterrupted: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    for variant in ("dwnet_micro", "dynamic_dwnet_micro"):
        metrics = json.loads(
            (project / "out/whole/results/classify" / variant / "metrics.json").read_text()
        )
        run = client.get_run(metrics["seeds"][0]["mlflow_run_id"])
        assert run.info.status == "FINISHED"
        assert (
            run.data.tags["variant"] == variant
            and run.data.tags["run_id"] == metrics["seeds"][0]["run_id"]
        )
        assert float(run.data.params["epochs"]) == 3 and "recipe.micro_batch" not in run.data.params
        points = client.get_metric_history(run.info.run_id, "eval/top1")
        assert [point.step for point in points] == [10, 20, 30]
        assert points[-1].value == metrics["final"]["top1"]
        for name in ("parameters", "macs"):
            assert int(run.data.params[name]) == metrics[name]
        seconds = (run.info.end_time - run.info.start_time) / 1000
        assert seconds == pytest.approx(metrics["wall_time_s"], abs=2)


def test_one_rank_by_url_gives_the_losses_of_two_and_bad_numbers_stop(
    project: Path, small_shards: Path, tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    import torch

    params = yaml.safe_load((project / "params.yaml").read_text())
    params["classify"]["variants"]["broken"] = {
        "mixer": "dwnet",
        "size": "micro",
        "recipe": {"optimizer": {"lr": 1e30, "clip_grad": None}},
    }
    (project / "broken.yaml").write_text(yaml.safe_dump(params))
    url = (f"cluster.shards=file://{small_shards.parent}", f"cluster.cache={tmp_path}")
    settings = ("cluster.workers=1", *url)
    sentence = r"broken seed 7: step \d+ has a non-finite .*lower optimizer.lr"
    variants = ("dwnet_micro", "dynamic_dwnet_micro")
    with trained_here(), pytest.raises(UserError, match=sentence):
        train(project, *variants, "broken", out="one", settings=settings, params="broken.yaml")
    again = train(project, *variants, out="one", settings=settings, params="broken.yaml")
    assert again["world_size"] == 1
    splits = Manifest.load(small_shards).splits.values()
    assert {shard.sha256 for split in splits for shard in split.shards} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert again["final"]["loss"] == pytest.approx(uninterrupted["final"]["loss"], rel=1e-3)
    for variant in variants:
        expected = weights(project, "whole", variant)
        for name, value in weights(project, "one", variant).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_finished_run_publishes_again_without_ray(
    project: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr("pipeline.cluster.connection.connected", refuse)
    assert train(project, "dwnet_micro", out="whole")["final"] == uninterrupted["final"]


@pytest.mark.parametrize("harm", ["flip", "cut", "missing"])
def test_damaged_shards_stop_training_before_it_starts(
    project: Path, tmp_path: Path, harm: str
) -> None:
    import shutil

    shutil.copytree(project / "data", tmp_path / "data")
    shutil.copy(project / "params.yaml", tmp_path)
    for name in ("pipeline", "models"):
        (tmp_path / name).symlink_to(project / name)
    shard = tmp_path / "data/shards/imagenet/train/000001.tar"
    data = bytearray(shard.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    elif harm == "cut":
        shard.write_bytes(data[: len(data) // 1024 * 512])
    else:
        shard.unlink()
    with pytest.raises(UserError, match=r"train/000001\.tar"):
        run_stage(tmp_path, "pipeline.train", "classify", "dwnet_micro")
    assert not (tmp_path / "mlflow.db").exists() and not (tmp_path / "results").exists()


def test_shards_of_other_data_are_refused(project: Path) -> None:
    with pytest.raises(
        UserError, match=r"was made with data\.imagenet\.synthetic.*pipeline\.fetch imagenet"
    ):
        run_stage(
            project,
            "pipeline.train",
            "classify",
            "dwnet_micro",
            "--set",
            "data.imagenet.synthetic.seed=5",
        )


def test_an_unknown_variant_names_the_nearest(project: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'dwnet_micro'"):
        run_stage(project, "pipeline.train", "classify", "dwnet_mikro")


def test_the_manifest_is_in_the_metrics(
    project: Path, small_shards: Path, uninterrupted: dict[str, Any]
) -> None:
    assert uninterrupted["data"]["manifest"] == Manifest.load(small_shards).digest


def test_equal_variants_do_not_wait_for_each_other(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same name twice, and another name of the same settings, whose run is the same: a lock is
    taken once.
    """
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["classify"]["variants"]["namesake"] = params["classify"]["variants"]["dwnet_micro"]
    (project / "namesake.yaml").write_text(yaml.safe_dump(params))
    trained: list[Run] = []

    def recorded(_: object, runs: list[Run]) -> dict[str, str]:
        trained.extend(runs)
        return {}

    monkeypatch.setattr("pipeline.cluster.training._train_recorded", recorded)
    monkeypatch.setattr("pipeline.core.locks.fcntl.flock", refuse_to_wait)
    with pytest.raises(UserError, match="did not finish"):
        train(
            project, "dwnet_micro", "namesake", "dwnet_micro", out="equal", params="namesake.yaml"
        )
    assert [run.variant for run in trained] in (["dwnet_micro"], ["namesake"])


def refuse_to_wait(file: IO[str], how: int) -> None:
    """Take a lock as `flock` does, but fail where it would wait for ever."""
    FLOCK(file, how | fcntl.LOCK_NB)
