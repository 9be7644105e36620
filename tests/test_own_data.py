"""What docs/own-data.md says that data of one's own must hold is enough."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.listing import IMAGE_SUFFIXES
from pipeline.params import Params
from tests.cases.case import Case, Made, Outcome, kept, run
from tests.cases.drawing import encoded, jpeg, put
from tests.helpers import PROJECT

PAGE = (PROJECT / "docs" / "own-data.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def classes(root: Path) -> None:
    for number, path in enumerate(
        f"{split}/{name}/{split}.jpg" for split in ("train", "val") for name in "ab"
    ):
        put(root, path, jpeg(number))


def boxes(root: Path) -> None:
    (document,) = fenced("json")
    for number, split in enumerate(("train2017", "val2017")):
        put(root, f"annotations/instances_{split}.json", document)
        put(root, f"{split}/{json.loads(document)['images'][0]['file_name']}", jpeg(number))


def masks(root: Path) -> None:
    (names,) = fenced("tsv")
    values = np.tile(np.array([0, 1, 2, 1], dtype=np.uint8), (32, 12))
    for number, split in enumerate(("training", "validation")):
        put(root, f"images/{split}/a.jpg", jpeg(number))
        put(root, f"annotations/{split}/a.png", encoded(Image.fromarray(values), "PNG"))
    put(root, "objectInfo150.txt", names)


def named(*names: str) -> Callable[[Made], str]:
    def check(made: Made) -> str:
        seen = tuple(entry.name for entry in made.manifest.classes)
        return "" if seen == names else f"classes {seen}"

    return check


@pytest.mark.parametrize(
    ("name", "draw", "right", "names"),
    [
        ("imagenet", classes, kept(2, 2), ("a", "b")),
        (
            "coco",
            boxes,
            kept(1, 1, noted={"area_missing": 4, "iscrowd_missing": 4}),
            ("cup", "spoon"),
        ),
        ("ade20k", masks, kept(1, 1), ("wall", "floor")),
    ],
)
def test_the_least_that_the_page_names_is_read(
    tmp_path: Path, name: str, draw: Callable[[Path], None], right: Outcome, names: tuple[str, ...]
) -> None:
    verdict = run(Case("least", name, draw, right, check=named(*names)), tmp_path / "case")
    assert verdict.ok, verdict


def test_settings_and_endings_on_the_page_exist() -> None:
    fields = {
        name
        for model in (type(Params().data.imagenet), type(Params().data.coco))
        for name in model.model_fields
    }
    settings = set(re.findall(r"`data\.(?:<name>|coco)\.([a-z_]+)", PAGE))
    assert (
        {"splits", "annotations", "hold_out", "limit", "seed", "follow_links", "source"}
        == settings
        <= fields
    )
    assert all(f"`{ending}`" in PAGE for ending in IMAGE_SUFFIXES)
