"""Whose measurement is taken for whose time, and how it is scaled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import models
from models.counting.macs import count_macs, count_parameters
from models.heads import UPerNetSettings, create_segmenter
from pipeline.core.files import write_json
from pipeline.planning.speed import Measured, Speeds
from pipeline.planning.work import training_of
from pipeline.project.call import Call

RECIPE = {"image_size": 64, "eval_resize": 64, "micro_batch": 4, "micro_batches": 2}
NARROW = {
    "channels": 16,
    "auxiliary_channels": 8,
    "test_sides": [128, 32],
    "test_scales": [1.0, 2.0],
    "test_flip": True,
}
PROFILE = {
    "variant": "dwnet_micro",
    "mixer": "dwnet",
    "size": "micro",
    "model": "dwnet_micro",
    "overrides": {},
    "parameters": 451_688,
    "macs": 4_521_472,
    "macs_rule": "flops()",
    "image_size": 64,
    "batch_size": 4,
    "warmup": 1,
    "timed": 1,
    "device": "NVIDIA H100",
    "threads": 16,
    "precision": "fp32",
    "layout": "channels_last",
    "train_images_per_second": 1000.0,
    "inference_images_per_second": 4000.0,
}
END = {"step": 100, "epoch": 5.0, "top1": 40.0}
RUN = {
    "task": "classify",
    "variant": "dwnet_micro",
    "mixer": "dwnet",
    "size": "micro",
    "model": "dwnet_micro",
    "overrides": {},
    "main_metric": "top1",
    "device": "cpu",
    "world_size": 2,
    "parameters": 323_978,
    "commit": None,
    "dirty": False,
    "data": {
        "dataset": "imagenet",
        "source": "synthetic",
        "manifest": "ab",
        "train_samples": 160,
        "val_samples": 40,
        "classes": 10,
        "evaluated_on": "val",
    },
    "final": END,
    "best": END,
    "train_images_per_second": 80.0,
    "wall_time_s": 34.0,
    "seeds": [
        {
            "seed": seed,
            "run_id": "a",
            "final": END,
            "best": END,
            "train_images_per_second": speed,
            "wall_time_s": seconds,
        }
        for seed, speed, seconds in ((0, 80.0, 12.0), (1, 40.0, 22.0))
    ],
}


def measured(call: Call, variant: str = "dwnet_micro", task: str = "classify") -> Measured:
    return Speeds(call).of(training_of(call.params, task, variant))


def sections(recipe: dict[str, Any] | None = None, **variant: Any) -> dict[str, Any]:
    entry = {"mixer": "dwnet", "size": "micro", **variant}
    return {
        "classify": {"recipe": {**RECIPE, **(recipe or {})}, "variants": {"dwnet_micro": entry}},
        "segment": {
            "recipe": {
                "micro_batch": 4,
                "micro_batches": 2,
                "upernet": NARROW,
                "augment": {"crop": [64, 64]},
            },
            "variants": {"dwnet_micro": entry},
        },
    }


@pytest.fixture
def profile(tmp_path: Path) -> None:
    write_json(tmp_path / "results/profile/dwnet_micro/profile.json", PROFILE)


ROUND = "round figures of a laptop's CPU core, scaled by operations; nothing was measured"
CPU = {"cluster": {"gpus_per_worker": 0}}


def test_nothing_measured_is_a_round_figure(call_with: Callable[..., Call]) -> None:
    found = measured(call_with(**sections(), **CPU))
    macs = count_macs(models.create_model("dwnet_micro", num_classes=1000), 64)["total"]
    assert (found.speed.basis, found.speed.kind, found.speed.rough) == (ROUND, "CPU", True)
    assert found.speed.evaluation == pytest.approx(macs / (3.8e9 * 2))
    assert found.speed.train == pytest.approx(3 * found.speed.evaluation)
    assert found.parameters == 451_688


@pytest.mark.usefixtures("profile")
def test_its_own_profile_counts_as_it_is_and_by_area(call_with: Callable[..., Call]) -> None:
    found = measured(call_with(**sections(drop_path_rate=0.2)))  # which costs nothing
    assert found.parameters == 451_688
    assert (found.speed.train, found.speed.evaluation, found.speed.kind) == (
        1 / 1000,
        1 / 4000,
        "GPU",
    )
    assert (found.speed.basis, found.speed.rough) == ("its own profile", False)
    found = measured(call_with(**sections({"image_size": 128, "eval_resize": 128})))
    assert (found.speed.train, found.speed.rough) == (4 / 1000, True)
    assert found.speed.basis == "its own profile, scaled by image area"


@pytest.mark.usefixtures("profile")
def test_cores_of_a_cpu_add_up(call_with: Callable[..., Call], tmp_path: Path) -> None:
    write_json(
        tmp_path / "results/profile/dwnet_micro/profile.json",
        {**PROFILE, "device": "cpu Some Name"},
    )
    found = measured(call_with(**sections()))
    assert (found.speed.train, found.speed.kind) == (16 / 1000, "CPU")


@pytest.mark.usefixtures("profile")
def test_another_precision_says_nothing(call_with: Callable[..., Call]) -> None:
    for other in ({"amp": "bf16"}, {"channels_last": False}):
        assert measured(call_with(**sections(other), **CPU)).speed.basis == ROUND


@pytest.mark.usefixtures("profile")
def test_networks_that_are_alike_scale_by_operations(
    call_with: Callable[..., Call], tmp_path: Path
) -> None:
    found = measured(call_with(**sections(kernel_size=3)))
    model = models.create_model("dwnet_micro", num_classes=1000, kernel_size=3)
    times = count_macs(model, 64)["total"] / PROFILE["macs"]
    assert (
        found.speed is not None
        and found.speed.train == pytest.approx(times / 1000)
        and found.speed.rough
    )
    assert found.speed.basis == "the profile of dwnet_micro, scaled by operations"
    assert found.parameters == count_parameters(model)
    wide = measured(call_with(**sections(size="tiny"), **CPU))  # six times as wide
    assert wide.speed.basis == ROUND
    near = {**PROFILE, "variant": "swin_micro", "mixer": "swin", "model": "swin_micro"}
    write_json(tmp_path / "results/profile/swin_micro/profile.json", near)
    found = measured(call_with(**sections(mixer="swin", shift=False)))
    assert (
        found.speed is not None
        and found.speed.basis == "the profile of swin_micro, scaled by operations"
    )


@pytest.mark.usefixtures("profile")
def test_heads_are_counted(call_with: Callable[..., Call]) -> None:
    found = measured(call_with(**sections()), task="segment")
    heads = UPerNetSettings(channels=16, auxiliary_channels=8)
    model = create_segmenter("dwnet_micro", 150, upernet=heads)
    train = count_macs(model, (64, 64))["total"] / PROFILE["macs"]
    seen = (
        count_macs(model, (32, 32))["total"] / PROFILE["macs"] * (1 + 4) * 2
    )  # drawn ones are square
    assert (
        found.speed is not None
        and found.speed.rough
        and found.parameters == count_parameters(model)
    )
    assert found.speed.train == pytest.approx(train / 1000)
    assert found.speed.evaluation == pytest.approx(seen / 4000)


@pytest.mark.usefixtures("profile")
def test_its_last_run_counts_most_while_it_is_the_same(
    call_with: Callable[..., Call], tmp_path: Path
) -> None:
    recorded = (
        call_with(**sections()).params.classify.recipe_of("dwnet_micro").model_dump(mode="json")
    )
    path = tmp_path / "results/classify/dwnet_micro/metrics.json"
    write_json(path, {**RUN, "recipe": {**recorded, "evaluate_every": {"epochs": 2}}})
    found = measured(call_with(**sections({"duration": {"epochs": 3}, "optimizer": {"lr": 0.1}})))
    # 2 x 800 images took 10 s and 20 s; each was evaluated after 40, 80 and 100 steps, which took 2
    # s and 2 s
    assert (found.speed.basis, found.parameters) == (
        "its last run",
        323_978,
    )
    assert found.speed.train == pytest.approx(2 * 30 / 1600)
    assert found.speed.evaluation == pytest.approx(2 * 4 / (2 * 3 * 40))
    for other in ({"amp": "bf16"}, {"image_size": 32}, {"micro_batch": 8}):
        changed = measured(call_with(**sections(other)))
        assert changed.speed.basis != "its last run"
    other_data = call_with(**sections(), data={"imagenet": {"source": "photographs"}})
    assert measured(other_data).speed.basis == "its own profile"
    path.write_text("{")
    assert measured(call_with(**sections())).speed.basis == "its own profile"
