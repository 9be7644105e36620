"""Where a source keeps its splits: where the params say, in the official place, or in one that
others often use.

A place that nobody named is taken only where it is the only one of its kind.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.core.errors import UserError
from pipeline.datasets.listing import Tree, examples, wrong_layout
from pipeline.datasets.source.names import printable

OFTEN = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""What folders of a split are often called."""


ROBOFLOW = "_annotations.coco.json"
OTHER_ANNOTATIONS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
"""How names begin of COCO's annotation files that are not those of instances."""


class Asked(NamedTuple):
    """What the params say of a data set's layout.

    Attributes:
        name: the data set, as messages name the parameters.
        splits: the folder of a split, where it is not found by itself.
        annotations: the annotation file of a split, relative to the source, where it is not found
            by itself (COCO).
        hold_out: whether a validation split is made from the training split.
    """

    name: str
    splits: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    hold_out: bool = False

    def advice(self, split: str, tree: Tree, folder: str) -> str:
        """Return what to do where a split was not found, or its folder does not hold it."""
        names = f"data.{self.name}.splits.{split}=FOLDER names another folder"
        makes = f", data.{self.name}.hold_out=0.1 makes a validation split from the training split"
        return names + (makes if split == "val" and not has_folder(tree, folder) else "")


def folders(
    tree: Tree,
    asked: Asked,
    official: Mapping[str, str],
    around: Sequence[str] = ("",),
    inside: str = "",
    shared: str | None = None,
) -> dict[str, str]:
    """Return the folder of each split; `val` is left out where it is held out of the training
    split.

    Args:
        tree: the source.
        asked: what the params say.
        official: the official folder of each split.
        around: folders that may lie around those of the splits, each with its final /, the official
            one first.
        inside: a folder in which all this is, with its final /; it is not in what is returned.
        shared: a folder that splits may have together, since something else tells whose an image
            is.

    Raises:
        UserError: several folders may be meant, or a split is held out that is there.
    """
    present = {folder.removeprefix(inside) for folder in tree.folders if folder.startswith(inside)}
    present |= {
        folder
        for path in tree.files
        for folder in _parents(path.removeprefix(inside))
        if path.startswith(inside)
    }

    chosen = {}
    for split, name in official.items():
        if split in asked.splits:
            chosen[split] = _named(asked.splits[split].strip("/"), around, present)
            continue

        best = next(
            (folder for folder in (f"{top}{name}" for top in around) if folder in present), None
        )
        others = [
            f"{top}{other}"
            for top in around
            for other in OFTEN[split]
            if f"{top}{other}" in present
        ]
        if best is None and len(others) > 1:
            raise UserError(
                f"{tree.root} has {' and '.join(f'{inside}{folder}/' for folder in others)}; "
                f"name the one that is meant with data.{asked.name}.splits.{split}"
            )
        chosen[split] = best or (others[0] if others else name)

    if shared in present and not present & {*chosen.values()}:
        chosen = {split: asked.splits.get(split, shared) for split in chosen} if shared else chosen
    if shared is None and len(set(chosen.values())) < len(chosen):
        raise UserError(
            f"data.{asked.name}.splits: each split needs a folder of its own, got {chosen}"
        )

    if asked.hold_out:
        if chosen["val"] in present and chosen["val"] != chosen["train"]:
            raise UserError(
                f"{tree.root} has a validation split in {inside}{printable(chosen['val'])}/; "
                f"data.{asked.name}.hold_out is for data without one, take it away"
            )
        del chosen["val"]
    return chosen


def annotation_file(tree: Tree, asked: Asked, split: str, folder: str) -> str:
    """Return the annotation file of a split in COCO's form.

    Raises:
        UserError: there is none, or several may be meant.
    """
    setting = f"data.{asked.name}.annotations.{split}"
    official = f"annotations/instances_{os.path.basename(folder)}.json"
    if (named := asked.annotations.get(split)) is not None:
        if named not in tree.files:
            raise UserError(f"{tree.root / named}, named by {setting}, does not exist")
        return named

    present = has_folder(tree, folder)
    if present and official in tree.files:
        return official

    likely = _annotations(tree, split, folder, alone=asked.hold_out)
    if len(likely) > 1:
        raise UserError(
            f"{tree.root} has {examples(likely)}; name the annotations that are meant with "
            f"{setting}"
        )

    if not present or not likely:
        wrong = wrong_layout(tree.root, f"{folder}/ and {official}", tree.at_top())
        raise UserError(
            f"{wrong}; {asked.advice(split, tree, folder)}, {setting}=FILE another file of "
            "annotations"
        )

    return likely[0]


def _annotations(tree: Tree, split: str, folder: str, alone: bool) -> list[str]:
    """Return the files that may hold a split's annotations: in its folder, or called like it, or
    any for one split.
    """
    base = os.path.basename(folder)
    files = [
        path
        for path in tree.files
        if path.lower().endswith(".json") and path.count("/") <= folder.count("/") + 1
    ]
    files = [path for path in files if not os.path.basename(path).startswith(OTHER_ANNOTATIONS)]

    inside = [path for path in files if os.path.dirname(path) == folder]
    beside = [path for path in files if os.path.dirname(path) in ("", "annotations")]

    words = {base, *OFTEN[split], f"{split}2017"}
    called = [
        path
        for path in beside
        if words & set(re.split(r"[^a-z0-9]+", os.path.basename(path).lower()))
    ]
    exported = [path for path in inside if os.path.basename(path) == ROBOFLOW]
    return exported or called or inside or (beside if alone else [])


def has_folder(tree: Tree, folder: str) -> bool:
    """Return whether a source has a folder, be it as an entry of its own or in the names of
    files.
    """
    return folder in tree.folders or any(True for _ in tree.under(folder))


def _named(folder: str, around: Sequence[str], present: set[str]) -> str:
    """Return the folder that somebody named, with or without what lies around it."""
    return next((f"{top}{folder}" for top in ("", *around) if f"{top}{folder}" in present), folder)


def _parents(path: str) -> list[str]:
    return [path[:i] for i, letter in enumerate(path) if letter == "/"]
