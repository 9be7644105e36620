"""Shards as a stock webdataset pipeline, for those who bring a training loop of their own.

The project itself reads samples by position (`ShardReader`), which makes its order a function of
the seed alone. A stream reads whole shards from front to back, as webdataset does everywhere else.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.shards.manifest import Manifest
from pipeline.shards.writer import JPEG_MEMBER, PNG_MEMBER

if TYPE_CHECKING:
    from webdataset import WebDataset

SHARDS_IN_BUFFER = 100


def stream(folder: Path | str, split: str, shuffle: int = 0, seed: int = 0) -> "WebDataset":
    """Return the samples of a split, each once over all ranks and workers.

    Shards are dealt out among ranks (torch.distributed, or RANK and WORLD_SIZE) and then among the
    workers of a DataLoader, so there should be as many shards as workers on all ranks together, and
    ranks may see unequal numbers of samples. Give the stream to `torch.utils.data.DataLoader` as it
    is, or go on with webdataset's own `map`, `batched` and `with_epoch`.

    Args:
        folder: the folder that holds manifest.json.
        split: train or val.
        shuffle: samples that are held to draw the next one from, after the shards were shuffled; 0
            keeps the order of the shards.
        seed: decides the order where it is shuffled.

    Returns:
        An iterable of samples: `__key__`, `image` (PIL, RGB) and `target`, which is a class index
        (ImageNet), a record (COCO) or a map of class indices (ADE20K, NumPy).

    Raises:
        UserError: there are no shards, or no such split.
    """
    import webdataset

    folder = Path(folder)
    manifest = Manifest.load(folder)
    entry = {str(name): split_entry for name, split_entry in manifest.splits.items()}.get(split)
    if entry is None:
        raise UserError(f"{folder} has no split {split!r}; it has {', '.join(manifest.splits)}")

    paths = [str(folder / split / shard.name) for shard in entry.shards]
    samples = webdataset.WebDataset(
        paths,
        shardshuffle=SHARDS_IN_BUFFER if shuffle else False,
        nodesplitter=webdataset.split_by_node,
        workersplitter=webdataset.split_by_worker,
        detshuffle=bool(shuffle),
        seed=seed,
    )

    if shuffle:
        samples = samples.compose(webdataset.detshuffle(shuffle, seed=seed))

    return (
        samples.decode(_mask, "pil")
        .rename(image=f"{JPEG_MEMBER};{PNG_MEMBER}", target=manifest.target.member)
        .map(_bare)
    )


def _mask(extension: str, data: bytes) -> Any:
    """Decode a mask as the numbers that it holds; None leaves everything else to webdataset."""
    if extension != ".png":
        return None
    return np.asarray(Image.open(io.BytesIO(data)))


def _bare(sample: dict[str, Any]) -> dict[str, Any]:
    """Leave out where webdataset found the sample."""
    return {name: sample[name] for name in ("__key__", "image", "target")}
