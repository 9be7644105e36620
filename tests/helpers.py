"""A small project to run stages in."""

import importlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.files import sha256_file
from pipeline.shards.manifest import Manifest
from pipeline.shards.task import Done, Work, write
from pipeline.shards.writer import Member, write_shard

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared"

REAL = [[i % 10, 3] if i % 4 else [] for i in range(37)]
"""What ImageNet-Real's file says of 37 validation images: two labels, or none."""

SMALL = """
data: {imagenet: {synthetic: {train: 160, val: 37, image_size: 32}}}
shard: {samples_per_shard: 50}
classify:
  recipe:
    duration: {epochs: 6}
    image_size: 32
    eval_resize: 32
    micro_batch: 8
    micro_batches: 2
    optimizer: {lr: 0.002, lr_batch: null}
    schedule: {warmup: {steps: 5}}
    augment: {rand_augment: null, color_jitter: 0.0, erasing: 0.0}
    checkpoint_every: {steps: 4}
  variants:
    dwnet_micro: {mixer: dwnet, size: micro}
    dynamic_dwnet_micro: {mixer: dynamic_dwnet, size: micro}
profile: {batch_size: 4, warmup: 1, timed: 2, train_timed: 2}
"""


def finished_record(run_id: str = "a", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return what a run writes down at its end, without the digests of its files."""
    row = {"epoch": 1.0, "step": 5, "top1": 40.0}
    history = [{**row, "lr": 0.1, "train_loss": 1.5, "images_per_second": 10.0}]
    return {
        "run_id": run_id, "seed": seed, "main_metric": "top1", "final": row, "best": row, "history": history,
        "per_class": {"n01": {"top1": 40.0}}, "parameters": 7, "train_images_per_second": 10.0, "wall_time_s": 3.0,
        "world_size": 2, "device": "cpu", "adopted": None, **changes,
    }  # fmt: skip


SEALED = ("last.safetensors", "best.safetensors", "samples.png")
"""The files of a finished run."""


def make_project(folder: Path) -> Path:
    """Make a folder that stages can run in: small params and the code that digests name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(SMALL)
    for name in ("pipeline", "models"):
        (folder / name).symlink_to(PROJECT / name)
    return folder


def run_stage(project: Path, module: str, *args: str) -> None:
    """Run a stage's command line in this process, so that it uses the session's cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr("sys.argv", [module, *args])
        importlib.import_module(module).main()


def one_by_one(works: Sequence[Work], in_flight: int | None, label: str) -> list[Done]:
    """Run the tasks of a conversion in this process: what Ray makes of them without Ray."""
    return [write(work) for work in works]


def write_shards(
    folder: Path,
    train: Sequence[int],
    val: Sequence[int] = (1,),
    image_bytes: int = 100,
    member: str = "cls",
    target: Callable[[int], bytes] = lambda number: b"0",
) -> Path:
    """Write shards of so many samples each, without Ray: images are noise, keys say split and number."""
    splits = {}
    for split, sizes in {"train": train, "val": val}.items():
        (folder / split).mkdir(parents=True)
        entries, rows, numbers = [], [], itertools.count()
        for shard, size in enumerate(sizes):
            members = []
            for number in itertools.islice(numbers, size):
                noise = np.random.default_rng([ord(split[0]), number]).bytes(image_bytes)
                members.append(Member(f"{split}{number:05d}", noise, target(number), (0,)))
            written = write_shard(folder / split / f"{shard:06d}.tar", members, member, classes=1)
            rows.append(written.index)
            entries.append({
                "name": f"{shard:06d}.tar", "sha256": written.sha256, "bytes": written.bytes, "samples": size,
                "classes": written.classes,
            })  # fmt: skip
        path = folder / f"{split}.index.npy"
        np.save(path, np.concatenate(rows))
        index = {"name": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size}
        splits[split] = {"samples": sum(sizes), "shards": entries, "index": index}
    Manifest.model_validate({
        "dataset": "imagenet", "classes": [{"id": 0, "name": "noise"}], "target": {"member": member},
        "images": {"repair_quality": 90}, "splits": splits, "inventory": "0" * 64,
        "inputs": {"listed": 0, "kept": 0, "repaired": [], "quarantined": [], "ignored": [], "notes": {}},
    }).save(folder)  # fmt: skip
    return folder


class Keys:
    """A task's sampling that passes keys on and decodes nothing."""

    def train_sample(self, raw: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
        return raw

    def eval_sample(self, raw: dict[str, Any]) -> dict[str, Any]:
        return raw

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {"keys": [sample["__key__"] for sample in samples]}


def in_the_authors_names(model: Any) -> dict[str, Any]:
    """Return a depth-wise network's weights in the names of the official models, which merge at the end of a stage."""
    back = (
        ("backbone.stem.", "patch_embed."),
        (".mixer.conv_in.", ".attn2conv.conv0."),
        (".mixer.bn_in.", ".attn2conv.bn0."),
        (".mixer.spatial.", ".attn2conv.conv."),
        (".mixer.bn_mid.", ".attn2conv.bn."),
        (".mixer.conv_out.", ".attn2conv.conv2."),
        (".mixer.bn_out.", ".attn2conv.bn2."),
    )
    weights = {}
    for key, value in model.state_dict().items():
        for ours, theirs in back:
            key = key.replace(ours, theirs)
        for stage in (1, 2, 3):
            key = key.replace(f"backbone.stages.{stage}.merge.", f"layers.{stage - 1}.downsample.")
        weights[key.replace("backbone.stages.", "layers.")] = value
    return weights
