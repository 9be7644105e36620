"""What COCO is, and its section of params.yaml."""

from typing import Literal

from pydantic import Field

from pipeline.params.data import Dataset, Synthetic
from pipeline.params.registry import AboutDataset, Origin


class Coco(Dataset):
    """COCO; `annotations` names the annotation file of a split, relative to the source, where it is
    not found.
    """

    annotations: dict[Literal["train", "val"], str] = Field(default_factory=dict)
    """Annotation file of a split (train, val) within the source, where it is not found."""


ABOUT = AboutDataset(
    reader="pipeline.datasets.coco.coco",
    target="json",
    classes=80,
    images={"train": 118_287, "val": 5_000},
    bytes=20_000_000_000,
    synthetic="pipeline.datasets.synthetic.instances",
    rehearsal=Synthetic(train=4, val=1, image_size=480),
    rehearsal_width=800,  # as wide as the recipe's largest training images, 800 x 1333
    section=Coco,
    origin=Origin("COCO 2017", "https://cocodataset.org/", "https://cocodataset.org/#termsofuse"),
)
