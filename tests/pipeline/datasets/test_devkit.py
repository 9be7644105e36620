"""The published validation split: labels by the development kit alone, never by an order of
names.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from packing import DEVKIT, make_devkit, to_published
from scipy.io import savemat

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Synthetic

TRUTH = Path(DEVKIT, "data", "ILSVRC2012_validation_ground_truth.txt")
META = Path(DEVKIT, "data", "meta.mat")


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "imagenet"
    materialise("imagenet", Synthetic(train=30, val=20, image_size=32), folder)
    return folder


@pytest.fixture
def flat(by_class: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(by_class, tmp_path / "flat"))
    to_published(folder)
    return folder


def test_a_flat_split_has_the_labels_of_its_class_folders(by_class: Path, flat: Path) -> None:
    one, two = list_folder("imagenet", by_class, {}), list_folder("imagenet", flat, {})
    assert [(s.key, s.target) for s in one.splits["val"]] == [
        (s.key, s.target) for s in two.splits["val"]
    ]
    assert one.classes == two.classes and len({sample.target for sample in two.splits["val"]}) == 10
    assert set(two.metadata) == {str(TRUTH), str(META)}
    assert [(entry.path, entry.reason) for entry in two.ignored] == [
        (f"{DEVKIT}/readme.txt", "outside_layout")
    ]


def test_the_kit_names_classes_where_the_list_of_names_is_missing(
    by_class: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(by_class, tmp_path / "named"))
    before = list_folder("imagenet", folder, {}).classes
    (folder / "LOC_synset_mapping.txt").unlink()
    assert [entry.name for entry in list_folder("imagenet", folder, {}).classes] == [
        entry.id for entry in before
    ]
    make_devkit(
        folder / DEVKIT, {1: str(before[0].id)}, {str(entry.id): entry.name for entry in before}
    )
    assert list_folder("imagenet", folder, {}).classes == before


def test_odd_files_in_a_flat_split(flat: Path) -> None:
    (flat / "val" / "cat.JPEG").write_bytes(b"x")
    (flat / "val" / "notes.txt").write_bytes(b"x")
    (flat / "val" / "ILSVRC2012_val_00000007.JPEG").write_bytes(b"")
    listing = list_folder("imagenet", flat, {})
    assert {entry.path: entry.reason for entry in listing.quarantined} == {
        "val/cat.JPEG": "not_in_ground_truth",
        "val/notes.txt": "not_an_image",
        "val/ILSVRC2012_val_00000007.JPEG": "empty",
    }
    assert len(listing.splits["val"]) == 19


def meta(
    folder: Path,
    *rows: tuple[object, ...],
    fields: tuple[str, ...] = ("ILSVRC2012_ID", "WNID", "words"),
) -> None:
    table = np.array(list(rows), dtype=[(name, object) for name in fields]).reshape(-1, 1)
    savemat(folder / META, {"synsets": table})


def line(folder: Path, number: int, text: str) -> None:
    lines = (folder / TRUTH).read_text().splitlines()
    lines[number - 1] = text
    (folder / TRUTH).write_text("\n".join(lines) + "\n")


def drop_line(folder: Path) -> None:
    (folder / TRUTH).write_text(
        "".join((folder / TRUTH).read_text().splitlines(keepends=True)[:-1])
    )


ONE = (1, "n00000001", "x")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop_line, r"has 19 lines, but val/ has 20 images .* the first number that differs is 20"),
        (lambda f: line(f, 20, "1\n1"), r"has 21 lines, but val/ has 20 images"),
        (lambda f: (f / "val/ILSVRC2012_val_00000003.JPEG").unlink(), "19 images .* differs is 3"),
        (
            lambda f: shutil.copy(
                f / "val/ILSVRC2012_val_00000003.JPEG", f / "val/ILSVRC2012_val_00000003.jpg"
            ),
            "21 im",
        ),
        (lambda f: line(f, 4, "12"), "line 4 should be an ILSVRC2012_ID of meta.mat, found '12'"),
        (lambda f: line(f, 4, "11"), "the classes of train/ in val/; found n99999999"),
        (lambda f: line(f, 4, "-1"), "line 4 should be"),
        (lambda f: line(f, 4, "n00000001"), "line 4 should be"),
        (lambda f: (f / META).unlink(), "meta.mat is missing"),
        (lambda f: (f / META).write_bytes(b""), "not the table of ILSVRC2012: unreadable"),
        (lambda f: (f / META).write_bytes(b"x" * 5000), "not the table of ILSVRC2012: unreadable"),
        (
            lambda f: (f / META).write_bytes((f / META).read_bytes()[:400]),
            "not the table of ILSVRC2012",
        ),
        (
            lambda f: savemat(f / META, {"synsets": np.eye(3)}),
            "no array 'synsets' with ILSVRC2012_ID, WNID, words",
        ),
        (lambda f: savemat(f / META, {"other": 1}), "no array 'synsets'"),
        (
            lambda f: meta(f, (1, "n00000001"), (2, "n00000002"), fields=("ILSVRC2012_ID", "WNID")),
            "with words",
        ),
        (lambda f: meta(f, ONE, (1, "n00000002", "y")), "is there twice"),
        (lambda f: meta(f, ONE, (2, "n00000001", "y")), "is there twice"),
        (lambda f: meta(f, ONE, (2, "../../etc", "y")), "the WNID of 2 is '../../etc'"),
        (lambda f: meta(f, ONE, (2.5, "n00000002", "y")), "an ILSVRC2012_ID is 2.5"),
        (lambda f: meta(f, ONE, ({"a": 1}, "n00000002", "y")), "an ILSVRC2012_ID is"),
        (lambda f: meta(f, ONE, (2, "n00000002", [1, 2])), "the words of n00000002 are"),
        (lambda f: shutil.rmtree(f / DEVKIT), "the development kit beside it"),
    ],
)
def test_a_wrong_kit_stops(flat: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(flat)
    with pytest.raises(UserError, match=said) as caught:
        list_folder("imagenet", flat, {})
    assert str(flat) in str(caught.value) and "\n" not in str(caught.value)
