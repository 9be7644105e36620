"""The official archives, packed from folders in the official layouts."""

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from scipy.io import savemat

DEVKIT = "ILSVRC2012_devkit_t12"


def make_tar(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def make_zip(
    path: Path, members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED
) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)


def below(folder: Path, named: str = "") -> list[tuple[str, bytes]]:
    """Return the files below a folder, under names that start with `named`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(named + path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]


def flatten(folder: Path) -> None:
    """Move a validation split out of its class folders, as it is published."""
    for path in list(folder.glob("*/*")):
        path.rename(folder / path.name)
    for path in list(folder.iterdir()):
        if path.is_dir():
            path.rmdir()


def make_devkit(folder: Path, labels: Mapping[int, str], words: Mapping[str, str]) -> None:
    """Write an unpacked development kit: numbers follow no order of the synsets, inner nodes have
    numbers too.

    Args:
        folder: the folder to fill.
        labels: synset by number of the validation image.
        words: synset to its name.
    """
    order = sorted(words, key=lambda wnid: wnid[::-1])
    rows = [(i, wnid, words[wnid], 0) for i, wnid in enumerate(order, start=1)]
    rows.append((len(rows) + 1, "n99999999", "whatever", 3))
    kinds = [
        ("ILSVRC2012_ID", object),
        ("WNID", object),
        ("words", object),
        ("num_children", object),
    ]
    (folder / "data").mkdir(parents=True)
    savemat(folder / "data" / "meta.mat", {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)})
    numbers = {wnid: i for i, wnid, _, _ in rows}
    text = "".join(f"{numbers[labels[number]]}\n" for number in range(1, len(labels) + 1))
    (folder / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text(text)
    (folder / "readme.txt").write_text("not read by anybody\n")


def to_published(folder: Path) -> None:
    """Turn class folders into what is published: a flat `val` with the development kit, no list of
    names.

    Validation images are numbered anew where their numbers have gaps.
    """
    names = folder / "LOC_synset_mapping.txt"
    words = dict(line.split(" ", 1) for line in names.read_text().splitlines())
    labels = {i: path.parent.name for i, path in enumerate(number_anew(folder / "val"), start=1)}
    make_devkit(folder / DEVKIT, labels, words)
    flatten(folder / "val")
    names.unlink()


def number_anew(folder: Path) -> list[Path]:
    """Name the images of class folders ILSVRC2012_val_00000001.JPEG and so on without gaps; return
    them in order.
    """
    paths = sorted(folder.glob("*/*"), key=lambda path: path.name)
    targets = [
        path.with_name(f"ILSVRC2012_val_{i:08d}.JPEG") for i, path in enumerate(paths, start=1)
    ]
    for path, target in zip(paths, targets, strict=True):
        path.rename(target)  # numbers only become smaller, so nothing is in the way
    return targets


def pack(name: str, folder: Path, into: Path) -> Path:
    """Pack a folder in its official, published layout into the official archives."""
    into.mkdir(parents=True)
    if name == "imagenet":
        classes = sorted(path for path in (folder / "train").iterdir() if path.is_dir())
        inner = []
        for each in classes:
            make_tar(into / "class.tar", below(each))
            inner.append((f"{each.name}.tar", (into / "class.tar").read_bytes()))
        (into / "class.tar").unlink()
        make_tar(into / "ILSVRC2012_img_train.tar", inner)
        make_tar(into / "ILSVRC2012_img_val.tar", below(folder / "val"))
        make_tar(into / f"{DEVKIT}.tar.gz", below(folder / DEVKIT, DEVKIT + "/"), "w:gz")
    elif name == "coco":
        for part in ("train2017", "val2017"):
            make_zip(into / f"{part}.zip", below(folder / part, part + "/"), zipfile.ZIP_STORED)
        make_zip(
            into / "annotations_trainval2017.zip", below(folder / "annotations", "annotations/")
        )
    else:
        make_zip(into / "ADEChallengeData2016.zip", below(folder, "ADEChallengeData2016/"))
    return into
