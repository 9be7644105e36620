"""A sample that cannot be prepared ends its run at once, on every rank, by one sentence with its
key.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ranks import train

from pipeline.cluster.groups import train_runs
from pipeline.core.errors import UserError
from pipeline.params import Cluster
from pipeline.runs.run import Run
from pipeline.shards.reader import ShardReader
from pipeline.tasks.classify.recipe import Classify

NUMBER = 7  # of the sample that is broken, from the start of its split
SECTION = Classify.model_validate(
    {
        "recipe": {
            "duration": {"epochs": 1},
            "image_size": 32,
            "eval_resize": 32,
            "micro_batch": 8,
            "micro_batches": 2,
            "augment": {"rand_augment": None, "erasing": 0.0},
        },
        "variants": {"v": {"mixer": "dwnet", "size": "micro"}},
    }
)


def run_of(name: str, shards: Path, tmp_path: Path) -> Run:
    return Run(name, "classify", "v", 1, SECTION, shards, tmp_path / "runs" / name)


@pytest.fixture
def spoil(small_shards: Path, tmp_path: Path) -> Callable[[str], tuple[Path, str]]:
    """Copy the shards, overwrite a JPEG in a split, and return the folder and the sample's key."""

    def spoiled(split: str) -> tuple[Path, str]:
        folder = shutil.copytree(small_shards, tmp_path / split)
        reader = ShardReader(folder, split)
        offset, size, _ = reader._row(0, NUMBER)
        with open(folder / split / "000000.tar", "r+b") as file:
            file.seek(offset + 512 + 100)  # the header of the file and that of the JPEG stay
            file.write(bytes(size - 100))
        return folder, reader.key(0, NUMBER)

    return spoiled


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_its_key_is_named(
    spoil: Callable[[str], tuple[Path, str]], tmp_path: Path, split: str, workers: int
) -> None:
    """In the process that computes and in a loader's; from training and from evaluation."""
    shards, key = spoil(split)
    run = replace(run_of("bad", shards, tmp_path), loader_workers=workers)
    with pytest.raises(UserError) as raised:
        train(run)
    sentence = str(raised.value)
    assert f"{split}: sample {key} cannot be prepared" in sentence and "\n" not in sentence


def test_no_restart_is_spent_on_it(
    ray_cluster: None, spoil: Callable[[str], tuple[Path, str]], tmp_path: Path
) -> None:
    """Two ranks of Ray Train, of which one meets it: both end in their first try."""
    shards, key = spoil("train")
    run = run_of("bad", shards, tmp_path)
    wrong = train_runs([run], Cluster(workers=2, max_failures=3))
    assert list(wrong) == ["bad"] and f"sample {key} cannot be prepared" in wrong["bad"]
    assert run.progress.read_text().count("starts at step 0") == 1
