"""A small project to run stages in."""

import importlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from pipeline.core.files import sha256_file
from pipeline.datasets.inventory import resolve
from pipeline.params import load
from pipeline.shards.build import build
from pipeline.shards.manifest import Manifest
from pipeline.shards.task import Done, ShardWork, write
from pipeline.shards.writer import ShardMember, write_shard

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared"

AS_HERE = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-o",
    "addopts=--import-mode=importlib",
    "-m",
    "not faults",
)
"""Options of pytest in a copy of the project: what pyproject.toml says but for its markers."""

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
profile: {batch_size: 4, warmup: 1, timed: 2}
"""


def finished_record(run_id: str = "a", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return what a run writes down at its end, without the digests of its files."""
    row = {"epoch": 1.0, "step": 5, "top1": 40.0}
    history = [{**row, "lr": 0.1, "train_loss": 1.5, "images_per_second": 10.0}]
    return {
        "run_id": run_id,
        "seed": seed,
        "main_metric": "top1",
        "final": row,
        "best": row,
        "history": history,
        "per_class": {"n01": {"top1": 40.0}},
        "parameters": 7,
        "macs": 9,
        "train_images_per_second": 10.0,
        "wall_time_s": 3.0,
        "world_size": 2,
        "device": "cpu",
        "adopted": None,
        **changes,
    }


SEALED = ("last.safetensors", "best.safetensors", "samples.png")
"""The files of a finished run."""
ONE_WEIGHT = save({"w": np.zeros(1, np.float32)})
"""The smallest file of weights."""


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


def one_by_one(works: Sequence[ShardWork], in_flight: int | None, label: str) -> list[Done]:
    """Run the tasks of a conversion in this process: what Ray makes of them without Ray."""
    return [write(work) for work in works]


def build_shards(project: Path, name: str) -> Path:
    """Write the shards of a data set that a project has fetched, as the stage does, in this
    process.
    """
    params = load(project / "params.yaml")
    folder = project / "data" / "shards" / name
    inventory = json.loads((project / "data" / "raw" / f"{name}.json").read_text())
    build(
        name,
        resolve(name, params, project),
        params.shard,
        folder,
        inventory["digest"],
        run=one_by_one,
    )
    return folder


def write_shards(
    folder: Path,
    train: Sequence[int],
    val: Sequence[int] = (1,),
    image_bytes: int = 100,
    member: str = "cls",
    target: Callable[[int], bytes] = lambda number: b"0",
) -> Path:
    """Write shards of so many samples each, without Ray: images are noise, keys say split and
    number.
    """
    splits = {}
    for split, sizes in {"train": train, "val": val}.items():
        (folder / split).mkdir(parents=True)
        entries, rows, numbers = [], [], itertools.count()
        for shard, size in enumerate(sizes):
            members = []
            for number in itertools.islice(numbers, size):
                noise = np.random.default_rng([ord(split[0]), number]).bytes(image_bytes)
                members.append(ShardMember(f"{split}{number:05d}", noise, target(number), (0,)))
            written = write_shard(folder / split / f"{shard:06d}.tar", members, member, classes=1)
            rows.append(written.index)
            entries.append(
                {
                    "name": f"{shard:06d}.tar",
                    "sha256": written.sha256,
                    "bytes": written.bytes,
                    "samples": size,
                    "classes": written.classes,
                }
            )
        path = folder / f"{split}.index.npy"
        np.save(path, np.concatenate(rows))
        index = {"name": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size}
        splits[split] = {"samples": sum(sizes), "shards": entries, "index": index}
    Manifest.model_validate(
        {
            "dataset": "imagenet",
            "classes": [{"id": 0, "name": "noise"}],
            "target": {"member": member},
            "images": {"repair_quality": 90},
            "splits": splits,
            "inventory": "0" * 64,
            "inputs": {
                "listed": 0,
                "kept": 0,
                "repaired": [],
                "quarantined": [],
                "ignored": [],
                "notes": {},
            },
        }
    ).save(folder)
    return folder


class Keys:
    """A task's sampling that passes keys on and decodes nothing."""

    libraries: tuple[str, ...] = ()

    def train_sample(self, raw: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
        return raw

    def eval_sample(self, raw: dict[str, Any]) -> dict[str, Any]:
        return raw

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {"keys": [sample["__key__"] for sample in samples]}


def in_the_authors_names(model: Any) -> dict[str, Any]:
    """Return a network's weights in the names of the official models; heads have those of
    mmdetection and mmseg.
    """
    weights = model.state_dict()
    parts = {name.split(".")[0] for name in weights}
    prefix = "" if parts == {"backbone", "norm", "head"} else "backbone."
    names = {key: _official_name(key, prefix, model) for key in weights}
    if any(
        key.endswith("spatial.squeeze.bias") for key in weights
    ):  # the inhomogeneous generator's are sequences
        wrapped = {
            ".conv.conv1.": ".conv.conv1.0.",
            ".conv.bn.": ".conv.conv1.1.",
            ".conv.conv2.": ".conv.conv2.0.",
        }
        for ours, theirs in wrapped.items():
            names = {
                key: name.replace(f".attn2conv{ours}", f".attn2conv{theirs}")
                for key, name in names.items()
            }
    return {names[key]: value for key, value in weights.items()}


def _official_name(key: str, prefix: str, model: Any) -> str:
    """Return a parameter's official name: stages merge at their end, normed layers of heads are
    `conv` and `bn`.
    """
    first, *rest = key.split(".")
    if first == "backbone":
        return prefix + _official_backbone(rest)
    if prefix == "":
        return key
    if first in ("pyramid", "proposals"):
        return _official_pyramid(rest)
    if first == "heads":
        return _official_stage(rest, len(model.heads.box_heads[0].features) - 3)
    return _official_upernet(first, rest, len(model.auxiliary) - 1)


def _official_backbone(rest: list[str]) -> str:
    if rest[0] == "stem":
        return ".".join(["patch_embed", *rest[1:]])
    if rest[0] == "output_norms":
        return f"norm{rest[1]}.{rest[2]}"
    stage, part, *tail = rest[1:]
    if part == "merge":
        return ".".join(["layers", str(int(stage) - 1), "downsample", *tail])
    block, *tail = tail
    if tail[0] == "mixer":
        tail = _official_mixer(tail[1:])
    return ".".join(["layers", stage, "blocks", block, *tail])


def _official_mixer(tail: list[str]) -> list[str]:
    if tail[0] in ("qkv", "proj", "relative_position_bias_table"):
        return ["attn", *tail]
    names = {
        "conv_in": "conv0",
        "bn_in": "bn0",
        "spatial": "conv",
        "bn_mid": "bn",
        "conv_out": "conv2",
        "bn_out": "bn2",
    }
    generator = {"squeeze": "conv1", "expand": "conv2"}
    inner = [generator.get(part, part) for part in tail[1:]]
    return ["attn2conv", names[tail[0]], *inner]


def _official_pyramid(rest: list[str]) -> str:
    if rest[0] == "head":
        layers = {"conv": "rpn_conv", "cls_logits": "rpn_cls", "bbox_pred": "rpn_reg"}
        return f"rpn_head.{layers[rest[1]]}.{rest[-1]}"
    kind = {"inner_blocks": "lateral_convs", "layer_blocks": "fpn_convs"}[rest[0]]
    return f"neck.{kind}.{rest[1]}.conv.{rest[-1]}"


def _official_stage(rest: list[str], convs: int) -> str:
    """Return the name in a box or mask head; behind `convs` convolutions stand flattening and the
    hidden layer.
    """
    heads, stage, *layer = rest
    if heads == "box_heads":
        head = f"roi_head.bbox_head.{stage}"
        if layer[0] != "features":
            return f"{head}.{ {'scores': 'fc_cls', 'offsets': 'fc_reg'}[layer[0]] }.{layer[1]}"
        if int(layer[1]) == convs + 1:
            return f"{head}.shared_fcs.0.{layer[2]}"
        return f"{head}.shared_convs.{layer[1]}.{('conv', 'bn')[int(layer[2])]}.{layer[3]}"
    head = f"roi_head.mask_head.{stage}"
    if layer[0] == "0":
        return f"{head}.convs.{layer[1]}.conv.{layer[-1]}"
    return f"{head}.{ {'conv5_mask': 'upsample', 'mask_fcn_logits': 'conv_logits'}[layer[1]] }.{layer[-1]}"


def _official_upernet(head: str, rest: list[str], convs: int) -> str:
    if head == "auxiliary":
        if int(rest[0]) == convs:
            return f"auxiliary_head.conv_seg.{rest[-1]}"
        return f"auxiliary_head.convs.{rest[0]}.{('conv', 'bn')[int(rest[1])]}.{rest[-1]}"
    layers = {"lateral": "lateral_convs", "levels": "fpn_convs", "join": "fpn_bottleneck"}
    if rest[0] == "classify":
        return f"decode_head.conv_seg.{rest[-1]}"
    kind = ("conv", "bn")[int(rest[-2])]
    if rest[:2] == ["pooling", "grids"]:
        return f"decode_head.psp_modules.{rest[2]}.1.{kind}.{rest[-1]}"
    if rest[:2] == ["pooling", "join"]:
        return f"decode_head.bottleneck.{kind}.{rest[-1]}"
    number = [] if rest[0] == "join" else [rest[1]]
    return ".".join(["decode_head", layers[rest[0]], *number, kind, rest[-1]])
