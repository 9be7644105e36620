"""Networks that their recipe cannot train are refused by a sentence, before Ray starts, for
trainings and trials.
"""

from pathlib import Path
from typing import Any

import pytest
from helpers import run_stage

from pipeline.cluster.fitting import refuse_untrainable
from pipeline.core.errors import UserError
from pipeline.runs.run import Run
from pipeline.tasks.classify.recipe import Classify
from pipeline.tasks.detect.recipe import Detect
from pipeline.tasks.segment.recipe import Segment

SECTIONS: dict[str, Any] = {"classify": Classify, "detect": Detect, "segment": Segment}
VIT = {"mixer": "timm", "timm_name": "vit_tiny_patch16_224"}
SWIN = {"mixer": "timm", "timm_name": "swin_tiny_patch4_window7_224"}
RESNET = {"mixer": "timm", "timm_name": "resnet10t"}
POOLED = {"mixer": "dynamic_dwnet", "size": "micro"}
SMALL = {"image_size": 32, "eval_resize": 32}


@pytest.mark.parametrize(
    ("task", "variant", "recipe", "reason"),
    [
        (
            "classify",
            VIT,
            SMALL,
            r"timm:vit_tiny_patch16_224 cannot take images of 32 pixels: Input height \(32\)",
        ),
        (
            "classify",
            RESNET,
            {**SMALL, "micro_batch": 1},
            "micro-batches of 1 at 32 pixels.* use micro_batch 2",
        ),
        ("classify", POOLED, {"micro_batch": 1}, "a batch norm sees one value of an image"),
        (
            "detect",
            SWIN,
            {"init_from": None},
            r"cannot take the recipe's images: Input height \(480\)",
        ),
        (
            "segment",
            RESNET,
            {"init_from": None, "micro_batch": 1},
            "cannot be trained in micro-batches of 1",
        ),
        ("classify", VIT, {}, None),
        ("classify", RESNET, SMALL, None),
        ("classify", POOLED, {"micro_batch": 2}, None),
    ],
)
def test_a_network_fits_its_recipe_or_is_named(
    small_shards: Path,
    task: str,
    variant: dict[str, Any],
    recipe: dict[str, Any],
    reason: str | None,
) -> None:
    section = SECTIONS[task].model_validate({"recipe": recipe, "variants": {"v": variant}})
    named = [("it", Run("id", task, "v", 0, section, small_shards, Path("/nowhere")))]
    if reason is None:
        refuse_untrainable(named)
        return
    with pytest.raises(UserError, match=f"^it: .*{reason}") as raised:
        refuse_untrainable(named)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "settings", "sentence"),
    [
        (
            ["pipeline.train", "classify", "vit"],
            ["classify.variants.vit={mixer: timm, timm_name: deit_tiny_patch16_224}"],
            "vit seed 0: .* cannot take images of 32 pixels",
        ),
        (
            ["pipeline.tune"],
            [
                "tune.space={kernel_size: [3], recipe.micro_batch: [1]}",
                "tune.base={mixer: dwnet, size: micro}",
            ],
            "kernel_size=3 recipe.micro_batch=1 seed=0: .* use micro_batch 2",
        ),
    ],
    ids=["a training", "a trial"],
)
def test_it_is_refused_before_ray_starts(
    small_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    settings: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(
        "pipeline.cluster.connection.connected", lambda *_: pytest.fail("Ray was started")
    )
    options = [word for setting in settings for word in ("--set", setting)]
    with pytest.raises(UserError, match=sentence):
        run_stage(small_shards.parents[2], *command, *options, "--out", str(tmp_path))
