"""The golden record: what short runs of this code give, to the bit.

`python -m tests.golden` makes it anew.

docs/golden-record.md says when it may be remade.
"""

import hashlib
import platform
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

import models
from pipeline.cluster.workers import prepare_process
from pipeline.core.files import sha256_file
from pipeline.datasets.base import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.loading.micro_batches import Ranks
from pipeline.loading.order import EpochOrder
from pipeline.loading.sizes import Sizes
from pipeline.params import Params, load
from pipeline.rehearsal.places import PARTS, WalkItem, places_of
from pipeline.runs.run import Run
from pipeline.shards.build import build
from pipeline.shards.task import write
from pipeline.training.loop import evaluations

FOLDER = Path(__file__).parent
RECORD = FOLDER / "record.json"
POSITIONS = [0, 1, 17, 499, 500, 7_777, 99_639]
TIMES = ("images_per_second",)
"""What a row of a run's history holds that no seed decides."""


def make(scratch: Path) -> dict[str, Any]:
    """Return the record of the code as it is, working below the folder `scratch`."""
    params = load(FOLDER / "params.yaml")
    prepare_process(torch.device("cpu"), threads=1)
    shards = {
        name: draw_shards(name, params, scratch) for name in sorted(type(params.data).model_fields)
    }
    return {
        "made_by": made_by(),
        "parameters": {name: _parameters(name) for name in models.list_models()},
        "order": order(),
        "manifests": {
            name: sha256_file(folder / "manifest.json") for name, folder in shards.items()
        },
        "runs": {
            f"{place.part} {place.label}": _run(place, shards, scratch) for place in places(params)
        },
    }


def made_by() -> dict[str, str]:
    """Return what rounds as it does: the processor, and the libraries that compute."""
    return {
        "processor": _processor(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor()
    lines = information.read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    wide = sorted(flag for flag in flags[0] if flag.startswith(("avx", "amx"))) if flags else []
    return " ".join([names[0] if names else platform.processor(), *wide])


def places(params: Params) -> list[WalkItem]:
    """Return what is trained: all variants, the search's setting, the first cell of the design."""
    chosen = []
    for part in PARTS:
        found, _ = places_of(params, part)
        chosen += found[:1] if part in ("tune", "factorial") else found
    return chosen


def order() -> dict[str, str]:
    """Return shard:index at chosen positions of an epoch of 99,640 samples, by seed, epoch and
    block.
    """
    sizes = Sizes.of([1_000] * 99 + [640])
    epochs: list[tuple[int, int, int | Literal["all"]]] = [(0, 0, "all"), (0, 1, 8), (7, 299, 1)]
    return {
        f"seed {seed} epoch {epoch} block {block}": _positions(
            EpochOrder(sizes, seed, epoch, block)
        )
        for seed, epoch, block in epochs
    }


def _positions(order: EpochOrder) -> str:
    return " ".join(f"{shard}:{index}" for shard, index in order.at(np.array(POSITIONS)))


def _parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in models.create_model(name).parameters())


def draw_shards(name: str, params: Params, scratch: Path) -> Path:
    """Draw a data set's synthetic images and write its shards."""
    raw, folder = scratch / "raw" / name, scratch / "shards" / name
    materialise(name, getattr(params.data, name).synthetic, raw)
    listing = list_folder(name, raw, {})
    build(
        name,
        listing,
        params.shard,
        folder,
        listing.digest(),
        run=lambda works, *_: list(map(write, works)),
    )
    return folder


def _run(place: WalkItem, shards: dict[str, Path], scratch: Path) -> dict[str, Any]:
    """Train a place whole; return every evaluation, one a step, and the digest and size of its
    weights.
    """
    folder = scratch / "runs" / place.part / place.label.replace(" ", "_")
    run = Run(
        "golden", place.task, place.variant, 0, place.section, shards[place.section.dataset], folder
    )
    rows = list(evaluations(run, Ranks(), torch.device("cpu"), lambda model: model))
    weights = load_file(folder / "last.safetensors")
    return {
        "rows": [{key: value for key, value in row.items() if key not in TIMES} for row in rows],
        "weights": hashlib.sha256((folder / "last.safetensors").read_bytes()).hexdigest(),
        "length": float(sum(value.double().square().sum() for value in weights.values()) ** 0.5),
    }
