"""The loop by itself, in this process: options of a recipe, resuming, starting from weights, bad
numbers.
"""

import json
import shutil
import threading
import time
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ranks import train, train_on
from safetensors.torch import load_file, save_file

from models.aggregate.native import operators
from pipeline.cluster.progress import RunProgress
from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.locks import held
from pipeline.loading.micro_batches import EvalSamples, Ranks, eval_loader
from pipeline.params import Cluster
from pipeline.runs import checkpoint
from pipeline.runs.publish import publish_history
from pipeline.runs.run import Run
from pipeline.shards.manifest import Manifest
from pipeline.shards.reader import ShardReader
from pipeline.shards.remote.cache import ShardCache
from pipeline.tasks.base import Result, create
from pipeline.tasks.classify.logic import Classification
from pipeline.tasks.classify.recipe import Classify as Section
from pipeline.training import loop
from pipeline.training.evaluate import evaluate
from pipeline.training.interval import Interval
from pipeline.training.state import State

CPU = torch.device("cpu")
RECIPE: dict[str, Any] = yaml.safe_load("""
duration: {steps: 12}
image_size: 32
eval_resize: 32
micro_batch: 8
micro_batches: 2
optimizer: {lr: 0.002, lr_batch: null}
schedule: {warmup: {steps: 3}}
augment: {rand_augment: null, color_jitter: 0.0, erasing: 0.0}
evaluate_every: {steps: 4}
checkpoint_every: {steps: 3}
""")


class Stop(Exception):
    """Stands for a kill between two steps."""


def run_of(
    shards: Path,
    folder: Path,
    init: Path | None = None,
    variant: dict[str, Any] | None = None,
    **recipe: Any,
) -> Run:
    section = Section.model_validate(
        {
            "recipe": RECIPE | recipe,
            "variants": {
                "v": variant or {"mixer": "dwnet", "size": "micro", "drop_path_rate": 0.2}
            },
        }
    )
    return Run("id", "classify", "v", 1, section, shards, folder, init_from=init)


def finish(run: Run, stop_at: int | None = None) -> dict[str, Any]:
    """Train to the end and return the record; `stop_at` dies once in the evaluation of that
    step.
    """
    if stop_at is not None:

        def die(row: dict[str, Any]) -> None:
            if row["step"] == stop_at:
                raise Stop

        with pytest.raises(Stop):
            train(run, die)
    train(run)
    record = run.finished()
    assert record is not None
    return record


def weights(run: Run, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run.folder / f"{name}.safetensors")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": 0.9, "micro_batches": 4},
        {"amp": "bf16", "channels_last": False},
        {"amp": "fp16"},
        {"augment": {"rand_augment": "rand-m9-mstd0.5-inc1", "erasing": 0.5}},
    ],
    ids=["plain", "average and accumulation", "bf16", "fp16", "the paper's augmentation"],
)
def test_a_run_that_died_ends_bit_for_bit_where_it_would_have(
    small_shards: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = run_of(small_shards, tmp_path / "whole", **options)
    died = run_of(small_shards, tmp_path / "died", **options)
    first, second = finish(whole), finish(died, stop_at=8)
    for name in ("last", "best"):
        mine, theirs = weights(whole, name), weights(died, name)
        assert mine.keys() == theirs.keys() and all(
            torch.equal(mine[key], theirs[key]) for key in mine
        )
    for row, other in zip(first["history"], second["history"], strict=True):
        assert {**row, "images_per_second": 0} == {**other, "images_per_second": 0}
    assert [row["step"] for row in first["history"]] == [4, 8, 12]


def test_shards_by_url_train_the_same_run(small_shards: Path, tmp_path: Path) -> None:
    local = run_of(small_shards, tmp_path / "local", shuffle_block=2)
    cluster = Cluster(shards=f"file://{small_shards.parent}", cache=str(tmp_path / "cache"))
    cache = ShardCache.of(cluster, small_shards)
    remote = replace(local, shards=Path("/nowhere"), folder=tmp_path / "remote", cache=cache)
    first, second = finish(local), finish(remote)
    assert all(torch.equal(value, weights(remote)[key]) for key, value in weights(local).items())
    assert first["final"] == second["final"]


def test_the_average_differs_from_the_last_weights(small_shards: Path, tmp_path: Path) -> None:
    plain, averaged = (
        run_of(small_shards, tmp_path / "p"),
        run_of(small_shards, tmp_path / "a", ema=0.9),
    )
    finish(plain), finish(averaged)
    assert any(
        not torch.equal(value, weights(plain)[key]) for key, value in weights(averaged).items()
    )


def test_weights_of_mixed_training_are_judged_in_fp32(small_shards: Path, tmp_path: Path) -> None:
    trained = run_of(small_shards, tmp_path / "trained", duration={"steps": 1}, amp="bf16")
    shorter = run_of(
        small_shards, tmp_path / "shorter", duration={"steps": 1}, amp="bf16", eval_amp="bf16"
    )
    full = run_of(small_shards, tmp_path / "full").recipe
    scores = {run.folder.name: finish(run)["final"]["loss"] for run in (trained, shorter)}
    logic = create("classify", trained.section, "v", Manifest.load(small_shards))
    model = logic.build()
    model.load_state_dict(weights(trained))
    batches = eval_loader(
        EvalSamples(ShardReader(small_shards, "val"), logic.sampling, logic.eval_batch), Ranks(), 0
    )
    assert evaluate(logic, model, batches, full, Ranks(), CPU).metrics["loss"] == scores["trained"]
    assert scores["trained"] != scores["shorter"]
    assert all(torch.equal(value, weights(shorter)[key]) for key, value in weights(trained).items())


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_native_kernels_train_the_same_within_rounding(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    call = operators._call

    def watched(name: str, *arguments: Any) -> None:
        called.append(name)
        call(name, *arguments)

    monkeypatch.setattr(operators, "_call", watched)
    short: dict[str, Any] = {"duration": {"steps": 4}}
    rows = {}
    for choice in ("plain", "native"):
        run = run_of(small_shards, tmp_path / choice, **short, kernels=choice)
        rows[choice] = finish(run)["history"]
        assert set(called) == ({"depthwise_weights"} if choice == "native" else set())
    losses = [[row["train_loss"] for row in rows[choice]] for choice in rows]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    with pytest.raises(ValueError, match="plain"):
        run_of(small_shards, tmp_path / "other", kernels="fast")


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.faults)])
def test_compiled_training_gives_the_same_losses(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """With tracing alone: generating C++ takes minutes on two cores."""
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: original(self, backend=backend))
    plain = run_of(small_shards, tmp_path / "p", duration={"steps": 3}, evaluate_every={"steps": 3})
    eager = finish(plain)["history"]
    compiled = run_of(
        small_shards,
        tmp_path / "c",
        duration={"steps": 3},
        evaluate_every={"steps": 3},
        compile=True,
    )
    assert finish(compiled)["history"][0]["train_loss"] == pytest.approx(
        eager[0]["train_loss"], rel=1e-3
    )


def test_given_weights_are_taken_and_another_head_stays_fresh(
    small_shards: Path, tmp_path: Path
) -> None:
    import models

    torch.manual_seed(5)
    start = models.create_model("dwnet_micro", num_classes=3).state_dict()
    save_file(
        {key: value.contiguous() for key, value in start.items()}, tmp_path / "start.safetensors"
    )
    tiny_step: dict[str, Any] = {
        "optimizer": {"lr": 1e-12, "lr_batch": None, "weight_decay": 0.0},
        "duration": {"steps": 1},
    }
    run = run_of(small_shards, tmp_path / "run", init=tmp_path / "start.safetensors", **tiny_step)
    finish(run)
    ended = weights(run)
    assert ended["head.weight"].shape[0] == 10
    for name, value in start.items():
        if "running" not in name and "num_batches" not in name and not name.startswith("head."):
            torch.testing.assert_close(ended[name], value, atol=1e-6, rtol=0, msg=name)


def test_weights_of_another_network_are_refused(small_shards: Path, tmp_path: Path) -> None:
    import models

    other = models.create_model("swin_micro", num_classes=10).state_dict()
    save_file(
        {key: value.contiguous() for key, value in other.items()}, tmp_path / "other.safetensors"
    )
    with pytest.raises(UserError, match="init_from does not fit dwnet_micro"):
        finish(run_of(small_shards, tmp_path / "run", init=tmp_path / "other.safetensors"))


def test_a_loss_that_is_not_finite_names_step_and_samples(
    small_shards: Path, tmp_path: Path
) -> None:
    run = run_of(
        small_shards, tmp_path / "run", optimizer={"lr": 1e30, "lr_batch": None, "clip_grad": None}
    )
    with pytest.raises(UserError, match=r"v seed 1: step \d+ has a non-finite"):
        finish(run)
    assert run.finished() is None


def test_skipped_steps_leave_the_weights(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.training.step.Step._finite", lambda *_: (False, False))
    run = run_of(small_shards, tmp_path / "run", on_non_finite="skip", duration={"steps": 2})
    finish(run)
    torch.manual_seed(0)
    from pipeline.loading.randomness import seed_for

    torch.manual_seed(seed_for("init", 1))
    import models

    fresh = models.create_model("dwnet_micro", num_classes=10, drop_path_rate=0.2, image_size=32)
    for name, value in fresh.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(weights(run)[name], value), name


def test_a_step_passed_over_leaves_no_trace_but_its_count(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of NaN in one step of four: batch norms, losses and files stay finite, killed or
    not.
    """
    original = Classification.loss

    def poisoned(self: Any, model: Any, batch: Any, seed: tuple[int, int, int]) -> Any:
        if seed[1] == 1:
            batch["images"][0] = torch.nan
        return original(self, model, batch, seed)

    monkeypatch.setattr(Classification, "loss", poisoned)
    often: dict[str, Any] = {
        "on_non_finite": "skip",
        "duration": {"steps": 4},
        "checkpoint_every": {"steps": 1},
    }
    whole, died = (
        run_of(small_shards, tmp_path / "w", **often),
        run_of(small_shards, tmp_path / "d", **often),
    )
    record = finish(whole)
    [row] = record["history"]
    assert record["skipped_steps"] == row["skipped_steps"] == 1 and isfinite(row["train_loss"])
    assert all(value.isfinite().all() for value in weights(whole).values())
    monkeypatch.setattr(failpoints, "reach", stop_after_step(3))
    with pytest.raises(Stop):
        train(died)
    monkeypatch.undo()
    again = finish(died)
    assert again["skipped_steps"] == 1 and again["history"][0]["train_loss"] == row["train_loss"]
    shown = RunProgress(died.progress, died.spool, died.task).text(last_progress(died))
    assert "  1 passed over  " in shown


@pytest.mark.parametrize("options", [{}, {"amp": "fp16"}], ids=["fp32", "fp16"])
def test_a_run_that_goes_astray_ends_and_publishes_finite_numbers(
    small_shards: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """After one step of far too high a rate every loss is NaN, in evaluation too."""
    wild: dict[str, Any] = {
        "optimizer": {"lr": 1e30, "lr_batch": None, "clip_grad": None},
        "schedule": {"warmup": {"steps": 1}},
    }
    run = run_of(small_shards, tmp_path / "run", on_non_finite="skip", **wild, **options)
    record = finish(run)
    assert record["skipped_steps"] > 5
    publish_history(tmp_path / "history.csv", [record])
    files = (run.folder / "finished.json", run.progress, tmp_path / "history.csv")
    text = "".join(file.read_text() for file in files)
    assert (
        "NaN" not in text
        and "nan" not in text
        and "inf" not in text.lower().replace("inference", "")
    )
    assert "loss" not in record["history"][-1] and "top1" in record["final"]


def test_what_is_defined_at_the_end_alone_is_in_the_record(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best evaluation, the first, has no finite loss; the last one has."""

    def falling(*args: Any) -> Result:
        result = evaluate(*args)
        evaluated.append(result.metrics["loss"])
        loss = result.metrics["loss"] if len(evaluated) > 1 else torch.inf
        return replace(result, metrics={"top1": 50.0 - len(evaluated), "loss": loss})

    evaluated: list[float] = []
    monkeypatch.setattr(loop, "evaluate", falling)
    record = finish(run_of(small_shards, tmp_path / "run"))
    assert record["best"] == {"epoch": 0.4, "step": 4, "top1": 49.0}
    assert record["final"] == {"epoch": 1.2, "step": 12, "top1": 47.0, "loss": evaluated[-1]}


def test_no_second_of_training_is_lost_or_counted_twice_at_a_checkpoint(
    small_shards: Path, tmp_path: Path
) -> None:
    """Left after the checkpoint of step 3, before the first evaluation."""
    run = run_of(small_shards, tmp_path / "run")
    started = time.monotonic()
    with pytest.raises(loop.Left):
        list(loop.evaluations(run, Ranks(), CPU, lambda model: model, leave=asked_at(3)))
    left = time.monotonic()
    _, saved, _ = checkpoint.load_newest(run.checkpoints, CPU)
    assert saved is not None and saved["step"] == 3
    assert 0 < saved["train_seconds"] == saved["seconds"] < left - started
    record = finish(run)
    taken = 12 * 16 / record["train_images_per_second"]
    assert saved["train_seconds"] < taken < time.monotonic() - started
    assert record["wall_time_s"] <= round(time.monotonic() - started, 1)


def asked_at(step: int) -> Any:
    """Return what leaves a run before it takes the step after `step`."""
    asked = iter(range(step + 1))
    return lambda: next(asked) == step


def test_ranks_that_skipped_every_step_add_their_loss_up_where_they_compute() -> None:
    """NCCL takes no tensor of the CPU; `meta` stands for a GPU here."""
    state = State.fresh(torch.nn.Linear(1, 1), Section().recipe, CPU)
    interval = Interval(state, torch.device("meta"))
    interval.skip(16)
    assert interval.loss.device.type == "meta"


def test_too_few_samples_for_a_step_are_named(small_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"160 training samples do not fill one global batch of 256"
    ):
        finish(run_of(small_shards, tmp_path / "run", micro_batch=128))


def test_a_timm_model_trains_as_a_baseline(small_shards: Path, tmp_path: Path) -> None:
    variant = {"mixer": "timm", "timm_name": "resnet10t"}
    record = finish(run_of(small_shards, tmp_path / "run", variant=variant, duration={"steps": 2}))
    assert record["parameters"] > 4e6


@pytest.mark.parametrize(
    "worlds", [(2, 1, 2), pytest.param((3, 2, 1), marks=pytest.mark.faults)], ids=str
)
def test_the_number_of_ranks_changes_nothing_but_rounding(
    small_shards: Path, tmp_path: Path, worlds: tuple[int, int, int]
) -> None:
    """In double precision, over restarts on other numbers of ranks, all agrees but for the rounding
    of the loss.
    """
    options: dict[str, Any] = {
        "micro_batches": 6,
        "micro_batch": 4,
        "checkpoint_every": {"steps": 4},
    }
    whole, changing = (
        run_of(small_shards, tmp_path / "whole", **options),
        run_of(small_shards, tmp_path / "c", **options),
    )
    train_on(1, whole)
    for world, stop_at in zip(worlds, (8, 12, None), strict=True):
        train_on(world, changing, stop_at)
    mine, theirs = weights(whole), weights(changing)
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-5, atol=1e-6, msg=name.__add__)
    records = [run.finished() for run in (whole, changing)]
    losses = [
        [row["train_loss"] for row in record["history"]] for record in records if record is not None
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("point", ["run.unsealed", "run.sealed"])
def test_a_run_that_died_before_or_after_its_seal_is_finished(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """What the end of a run removes is not needed by whoever has to end it again."""
    run = run_of(small_shards, tmp_path / "run", duration={"steps": 4})
    with monkeypatch.context() as patch, pytest.raises(OSError, match=point):
        patch.setenv(failpoints.VARIABLE, f"{point} do=fail")
        finish(run)
    assert (run.finished() is not None) == (point == "run.sealed")
    finish(run)
    assert weights(run, "best").keys() == weights(run, "last").keys()
    assert ("continues at step 4 of 4" in run.progress.read_text()) == (point == "run.unsealed")


@pytest.mark.faults  # two ranks are in the tests of kills
def test_a_run_on_three_ranks_ends_bit_for_bit_where_it_would_have(
    small_shards: Path, tmp_path: Path
) -> None:
    """From three ranks on, the order of a sum is a matter of how DDP cuts its buckets."""
    options: dict[str, Any] = {"micro_batches": 3, "micro_batch": 4, "duration": {"steps": 8}}
    whole = run_of(small_shards, tmp_path / "whole", **options)
    died = run_of(small_shards, tmp_path / "died", **options)
    train_on(3, whole)
    train_on(3, died, stop_at=4)
    train_on(3, died)
    mine, theirs = weights(whole), weights(died)
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_a_run_waits_for_a_rank_that_still_writes(small_shards: Path, tmp_path: Path) -> None:
    run = run_of(small_shards, tmp_path / "run", duration={"steps": 2})
    training = threading.Thread(target=finish, args=(run,))
    with held(run.folder / "training.lock", "a rank that was left behind"):
        training.start()
        training.join(2)
        assert training.is_alive() and not run.progress.exists()
    training.join()
    assert run.finished() is not None


def test_a_changed_file_makes_a_run_unfinished(small_shards: Path, tmp_path: Path) -> None:
    run = run_of(small_shards, tmp_path / "run", duration={"steps": 2})
    finish(run)
    with open(run.folder / "last.safetensors", "r+b") as file:
        file.seek(-10, 2)
        file.write(b"x")
    assert run.finished() is None


def test_best_weights_do_not_pile_up_and_those_that_a_checkpoint_knows_stay(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many evaluations are the best so far, the newest checkpoint is lost: still the same best
    weights.
    """

    def by_loss(*arguments: Any) -> Result:
        result = evaluate(*arguments)
        return Result({**result.metrics, "top1": 100 - result.metrics["loss"]}, result.per_class)

    monkeypatch.setattr(loop, "evaluate", by_loss)
    often: dict[str, Any] = {
        "duration": {"steps": 30},
        "evaluate_every": {"steps": 2},
        "checkpoint_every": {"steps": 2},
    }
    whole = run_of(small_shards, tmp_path / "whole", **often)
    seen = []

    def look(row: dict[str, Any]) -> None:
        seen.append(len(list(whole.folder.glob("best-*.safetensors"))))

    train(whole, look)
    improved = sum(
        row["top1"] > max((r["top1"] for r in history[:i]), default=-1.0)
        for history in [(whole.finished() or {})["history"]]
        for i, row in enumerate(history)
    )
    assert improved > 3 >= max(seen)
    broken = run_of(small_shards, tmp_path / "broken", **often)
    with pytest.raises(Stop):
        train(broken, lambda row: stop_at(row, 24))
    newest = max((broken.checkpoints).glob("[0-9]*"))
    (newest / "state.pt").write_bytes(b"damaged")
    train(broken)
    one, other = ((run.folder / "best.safetensors").read_bytes() for run in (whole, broken))
    assert one == other


def stop_after_step(step: int) -> Any:
    def reach(point: str, **where: Any) -> None:
        if point == "step" and where["step"] == step:
            raise Stop

    return reach


def last_progress(run: Run) -> dict[str, Any]:
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in run.progress.read_text().splitlines()
    ]
    return lines[-1]


def stop_at(row: dict[str, Any], step: int) -> None:
    if row["step"] == step:
        raise Stop
