"""Cases of folders per class, as ImageNet is one."""

from collections.abc import Sequence
from pathlib import Path

from tests.cases.case import Case, kept
from tests.cases.drawing import jpeg, put


def folders(
    root: Path, classes: Sequence[str] = ("a", "b"), count: int = 3, splits: Sequence[str] = ("train", "val")
) -> None:
    """Draw `count` pictures of each class in each split."""
    for i, split in enumerate(splits):
        for j, name in enumerate(classes):
            for k in range(count):
                put(root, f"{split}/{name}/{name}{k}.jpg", jpeg(100 * i + 10 * j + k))


CASES = [
    Case("in_plain", "imagenet", folders, kept(6, 6)),
]
