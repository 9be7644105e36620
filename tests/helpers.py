"""A small project to run stages in."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.shards.task import Done, Work, write

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared"

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
