"""Detection and segmentation by the loop itself: resuming, starting from a classifier, and what is
refused.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import one_by_one
from ranks import train
from safetensors.torch import load_file, save_file

import models
from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Shard, Synthetic, Task
from pipeline.runs.run import Run
from pipeline.shards.build import build
from pipeline.shards.manifest import Manifest
from pipeline.tasks.base import TaskLogic, create
from pipeline.tasks.detect.recipe import Detect
from pipeline.tasks.segment.recipe import Segment

CPU = torch.device("cpu")
COMMON = """
init_from: null
micro_batch: 2
micro_batches: 2
duration: {steps: 6}
optimizer: {lr: 0.001, lr_batch: null}
schedule: {warmup: {steps: 2}}
evaluate_every: {steps: 3}
checkpoint_every: {steps: 2}
"""
OWN = {
    "detect": """
augment: {short_sides: [56, 64], long_side: 96, crop_short_sides: [64], crop: [40, 60]}
proposals: {sampled: 32, kept_train: 60, kept_test: 40}
cascade:
  {fpn_channels: 16, box_convs: 1, box_hidden: 16, mask_convs: 1, mask_size: 14, regions: 16, test_sides: [64, 96]}
""",
    "segment": """
augment: {resize: [128, 64], crop: [64, 64]}
upernet: {channels: 16, auxiliary_channels: 8, test_sides: [128, 64]}
""",
}
DATASET = {"detect": "coco", "segment": "ade20k"}
SECTION: dict[str, type[Task]] = {"detect": Detect, "segment": Segment}
DENSE = list(OWN)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few drawn images of both data sets, as shards."""
    root, made = tmp_path_factory.mktemp("dense"), {}
    for task, name in DATASET.items():
        materialise(name, Synthetic(train=11, val=5, image_size=64), root / name)
        made[task] = root / "shards" / name
        build(
            name,
            list_folder(name, root / name, {}),
            Shard(samples_per_shard=4),
            made[task],
            "0" * 64,
            run=one_by_one,
        )
    return made


def run_of(
    task: str,
    shards: dict[str, Path],
    folder: Path,
    init: Path | None = None,
    mixer: str = "dwnet",
    **changes: Any,
) -> Run:
    recipe = {**yaml.safe_load(COMMON), **yaml.safe_load(OWN[task]), **changes}
    variant = {"mixer": mixer, "size": "micro", "drop_path_rate": 0.1}
    section = SECTION[task].model_validate({"recipe": recipe, "variants": {"v": variant}})
    return Run("id", task, "v", 1, section, shards[task], folder, init_from=init)


def finish(run: Run) -> dict[str, Any]:
    train(run)
    record = run.finished()
    assert record is not None
    return record


def logic_of(run: Run) -> TaskLogic:
    return create(run.task, run.section, "v", Manifest.load(run.shards))


@pytest.mark.parametrize("task", DENSE)
def test_a_run_that_died_ends_bit_for_bit_where_it_would_have(
    shards: dict[str, Path], tmp_path: Path, task: str
) -> None:
    whole, died = run_of(task, shards, tmp_path / "whole"), run_of(task, shards, tmp_path / "died")
    first = finish(whole)

    def die(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(died, die)
    assert [path.name for path in died.checkpoints.glob("*2*")]
    second = finish(died)
    mine, theirs = (load_file(run.folder / "last.safetensors") for run in (whole, died))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    for row, other in zip(first["history"], second["history"], strict=True):
        assert {**row, "images_per_second": 0} == {**other, "images_per_second": 0}
    assert first["per_class"] == second["per_class"]
    assert set(first["final"]) >= {logic_of(whole).main_metric, "epoch", "step"}


@pytest.mark.parametrize("task", DENSE)
def test_a_classifier_gives_its_backbone_and_the_rest_is_named(
    shards: dict[str, Path], tmp_path: Path, task: str
) -> None:
    logic, start = (
        logic_of(run_of(task, shards, tmp_path)),
        models.create_model("dwnet_micro", num_classes=7),
    )
    model = logic.build()
    fresh = logic.load_given(model, start.state_dict())
    for name, value in start.get_submodule("backbone").state_dict().items():
        assert torch.equal(model.get_submodule("backbone").state_dict()[name], value), name
    assert "output_norms" in fresh and "backbone" not in fresh
    assert set(fresh) == {
        "output_norms",
        *(name for name, _ in model.named_children() if name != "backbone"),
    }


@pytest.mark.parametrize("task", DENSE)
@pytest.mark.parametrize(
    ("other", "hint"),
    [
        ("swin_micro", "swin_micro"),
        ("dynamic_dwnet_micro", "dynamic_dwnet_micro"),
        ("dwnet_tiny", "dwnet_tiny"),
    ],
)
def test_weights_of_another_variant_or_size_are_refused_by_name(
    shards: dict[str, Path], tmp_path: Path, task: str, other: str, hint: str
) -> None:
    save_file(
        models.create_model(other, num_classes=7).state_dict(), tmp_path / "start.safetensors"
    )
    with pytest.raises(UserError, match=rf"do not fit dwnet_micro, they are .*{hint}"):
        finish(run_of(task, shards, tmp_path / "run", init=tmp_path / "start.safetensors"))


def test_one_image_at_a_time_is_refused_where_a_batch_norm_sees_one_value(
    shards: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        UserError,
        match=r"dynamic_dwnet_micro cannot be trained in micro-batches of 1: .*batch norm",
    ):
        logic_of(run_of("detect", shards, tmp_path, mixer="dynamic_dwnet", micro_batch=1)).build()
    logic_of(run_of("detect", shards, tmp_path, mixer="dwnet", micro_batch=1)).build()
    with pytest.raises(UserError, match="micro-batches of 1"):  # pyramid pooling to one cell
        logic_of(run_of("segment", shards, tmp_path, mixer="dwnet", micro_batch=1)).build()


def test_frozen_statistics_stay_and_allow_one_image_at_a_time(
    shards: dict[str, Path], tmp_path: Path
) -> None:
    start = models.create_model("dynamic_dwnet_micro", num_classes=7)
    given = {name: value.clone() for name, value in start.state_dict().items()}
    for name, value in given.items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
    save_file(given, tmp_path / "start.safetensors")
    options: dict[str, Any] = {
        "mixer": "dynamic_dwnet",
        "micro_batch": 1,
        "frozen_bn": True,
        "init_from": "start.safetensors",
    }
    run = run_of("detect", shards, tmp_path / "run", tmp_path / "start.safetensors", **options)
    finish(run)
    after = load_file(run.folder / "last.safetensors")
    means = [
        name for name in given if name.startswith("backbone.") and name.endswith("running_mean")
    ]
    assert means and all(torch.equal(after[name], given[name]) for name in means)
    assert not torch.equal(after["backbone.stem.proj.weight"], given["backbone.stem.proj.weight"])
    with pytest.raises(UserError, match="frozen_bn keeps the statistics"):
        logic_of(run_of("detect", shards, tmp_path, frozen_bn=True)).build()


def test_weights_for_each_position_are_refused(shards: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="locally_connected_micro has weights for each position"):
        logic_of(run_of("segment", shards, tmp_path, mixer="locally_connected")).build()


def test_scales_and_mirror_images_are_averaged(shards: dict[str, Path], tmp_path: Path) -> None:
    """With its mirror image beside it, a photograph and its mirror image are segmented alike;
    without, they are not.
    """
    photograph = torch.randint(
        0, 256, (3, 50, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )

    def segmented(image: torch.Tensor, **options: Any) -> torch.Tensor:
        head = {**yaml.safe_load(OWN["segment"])["upernet"], **options}
        logic = logic_of(run_of("segment", shards, tmp_path, upernet=head))
        torch.manual_seed(0)
        model = logic.build().eval()
        sample = {"key": "k", "views": logic.sampling.views(image), "labels": image[0].numpy()}  # type: ignore[attr-defined]
        with torch.inference_mode():
            (classes,) = logic.predict(model, logic.prepare(logic.sampling.collate([sample]), CPU))
        assert classes.shape == (50, 64)
        return classes

    options: dict[str, Any] = {"test_scales": [0.75, 1.0], "test_flip": True}
    mirrored = segmented(photograph.flip(-1), **options).flip(-1)
    assert (segmented(photograph, **options) == mirrored).float().mean() > 0.99
    assert not torch.equal(segmented(photograph), segmented(photograph.flip(-1)).flip(-1))
    assert not torch.equal(segmented(photograph), segmented(photograph, test_scales=[0.75, 1.0]))
