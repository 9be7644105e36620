"""Every one of many seeded damages is named, with the file it is in: cuts, single bits, swaps,
missing and extra.
"""

import os
import random
import shutil
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import write_shards

from pipeline.core.errors import UserError
from pipeline.runs.make import check_shards
from pipeline.shards import tar, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "imagenet", train=[4, 4, 3], val=[2], image_bytes=700)


@contextmanager
def spoilt(path: Path) -> Iterator[bytes]:
    """Let the block harm a file, and put it back."""
    data = path.read_bytes()
    yield data
    path.write_bytes(data)


def regions(data: bytes) -> dict[str, range]:
    """Return the parts of a shard, of which each takes its turn: a header, a JPEG, its padding, the
    end.
    """
    image = 700
    start = tar.BLOCK
    return {
        "header": range(0, start),
        "image": range(start, start + image),
        "padding": range(start + image, start + tar.padded(image)),
        "end": range(len(data) - len(tar.END), len(data)),
        "anywhere": range(len(data)),
    }


def truncations(folder: Path, count: int) -> list[tuple[int, list[str]]]:
    """Cut a shard at so many seeded lengths, every second one a block's end; return each length and
    what was said.
    """
    draw, said = random.Random(11), []
    for number in range(count):
        path = folder / "train" / f"{number % 3:06d}.tar"
        with spoilt(path) as data:
            length = (
                draw.randrange(len(data) // 512) * 512 if number % 2 else draw.randrange(len(data))
            )
            os.truncate(path, length)
            said.append((length, verify(folder)))
    return said


def flips(folder: Path, count: int) -> list[list[str]]:
    """Flip one bit at so many seeded places, in every region in turn; return what was said each
    time.
    """
    draw, said = random.Random(12), []
    for number in range(count):
        path = folder / "train" / f"{number % 3:06d}.tar"
        with spoilt(path) as data:
            harmed = bytearray(data)
            region = list(regions(data).values())[number % 5]
            harmed[draw.choice(region)] ^= 1 << draw.randrange(8)
            path.write_bytes(harmed)
            said.append(verify(folder))
    return said


def check_all(folder: Path, count: int) -> None:
    whole = {path.name: path.stat().st_size for path in folder.glob("train/*.tar")}
    for number, (length, said) in enumerate(truncations(folder, count)):
        name = f"{number % 3:06d}.tar"
        assert said == [f"train/{name}: {length} bytes, should be {whole[name]}"]
    for number, said in enumerate(flips(folder, count)):
        assert said == [f"train/{number % 3:06d}.tar: content changed (SHA-256 differs)"]
    assert verify(folder) == []


def test_cuts_and_flipped_bits(folder: Path) -> None:
    check_all(folder, 50)


@pytest.mark.faults
def test_a_thousand_cuts_and_flipped_bits(folder: Path) -> None:
    check_all(folder, 500)


def swap(folder: Path) -> list[str]:
    one, two = folder / "train/000000.tar", folder / "train/000001.tar"
    assert one.stat().st_size == two.stat().st_size
    aside = one.with_name("aside")
    one.rename(aside), two.rename(one), aside.rename(two)
    return [f"train/00000{number}.tar: content changed (SHA-256 differs)" for number in (0, 1)]


def lose(folder: Path) -> list[str]:
    (folder / "train/000002.tar").unlink()
    return ["train/000002.tar: missing"]


def add(folder: Path) -> list[str]:
    shutil.copy(folder / "train/000002.tar", folder / "train/000003.tar")
    return ["train/000003.tar: not in manifest.json"]


@pytest.mark.parametrize("harm", [swap, lose, add])
def test_swapped_missing_and_extra_shards(folder: Path, harm: object) -> None:
    expected = harm(folder)  # type: ignore[operator]
    assert verify(folder) == expected


@pytest.mark.parametrize("harm", [swap, lose, add])
def test_training_refuses_before_it_starts(folder: Path, harm: object) -> None:
    from pipeline.params import Params
    from pipeline.project.call import Call, Folders
    from pipeline.runs.run import Run
    from pipeline.tasks.classify.recipe import Classify

    expected = harm(folder)  # type: ignore[operator]
    run = Run("id", "classify", "v", 1, Classify(), folder, folder.parent / "run")
    call = Call(Namespace(), Params(), folder, Folders(folder))
    with pytest.raises(UserError) as caught:
        check_shards(call, folder, [run])
    assert all(line in str(caught.value) for line in expected)
