"""ImageNet-Real's labels join by the number in the file name, or stop."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.imagenet import real
from pipeline.datasets.listing import Listing
from pipeline.datasets.synthetic import materialise
from pipeline.params import Synthetic


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "imagenet"
    materialise("imagenet", Synthetic(train=30, val=20, image_size=32), folder)
    return folder


@pytest.fixture
def listing(original: Path) -> Listing:
    return list_folder("imagenet", original, {})


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


ENTRIES = [[i % 10, 9, 9, 0] if i % 3 else [] for i in range(20)]


def test_labels_join_by_the_number_in_the_name(listing: Listing, tmp_path: Path) -> None:
    before = listing.digest()
    real.attach(listing, write(tmp_path / "real.json", [*ENTRIES, [1]]), "imagenet")
    assert listing.real is not None and len(listing.real.labels) == 20
    for i, entry in enumerate(ENTRIES, start=1):
        assert listing.real.labels[f"ILSVRC2012_val_{i:08d}"] == sorted(set(entry))
    one = listing.digest()
    real.attach(listing, write(tmp_path / "real.json", [*ENTRIES, [2]]), "imagenet")
    assert len({before, one, listing.digest()}) == 3


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            ENTRIES[:15],
            "has 15 entries and none for 5 of the 20 validation images, the first val/.*00000016",
        ),
        (
            [*ENTRIES[:3], [10], *ENTRIES[4:]],
            r"entry 4 should be a list of class indices from 0 to 9, found \[10\]",
        ),
        ([*ENTRIES[:3], [-1], *ENTRIES[4:]], "entry 4"),
        ([*ENTRIES[:3], [True], *ENTRIES[4:]], "entry 4"),
        ([*ENTRIES[:3], 3, *ENTRIES[4:]], "entry 4"),
        ({"1": [1]}, "not a list with an entry for each validation image"),
    ],
)
def test_labels_that_do_not_fit_stop(
    listing: Listing, tmp_path: Path, value: object, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        real.attach(listing, write(tmp_path / "real.json", value), "imagenet")
    assert listing.real is None


def test_other_names_have_no_labels(original: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(original, tmp_path / "raw"))
    image = next((folder / "val" / "n00000001").iterdir())
    image.rename(image.with_name("cat.JPEG"))
    with pytest.raises(
        UserError,
        match=r"none for 1 of the 20 validation images, the first val/n00000001/cat\.JPEG",
    ):
        real.attach(
            list_folder("imagenet", folder, {}), write(tmp_path / "real.json", ENTRIES), "imagenet"
        )


@pytest.mark.parametrize("text", ["", "[[1],", "\udcff", "[" * 100_000])
def test_what_is_no_json_stops(listing: Listing, tmp_path: Path, text: str) -> None:
    (tmp_path / "real.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="is not JSON"):
        real.attach(listing, tmp_path / "real.json", "imagenet")
    with pytest.raises(UserError, match="cannot read"):
        real.attach(listing, tmp_path / "gone.json", "imagenet")
