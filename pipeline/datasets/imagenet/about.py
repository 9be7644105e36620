"""What ImageNet is, and its section of params.yaml."""

from typing import Annotated

from pydantic import Discriminator, Tag

from pipeline.params.data import Dataset, Local, RemoteFile, Synthetic
from pipeline.params.registry import AboutDataset, Origin


class ImageNet(Dataset):
    """ImageNet; `real_labels` is ImageNet-Real's real.json: several labels an image, for the
    validation split.
    """

    real_labels: (
        Annotated[
            Annotated[Local, Tag("path")] | Annotated[RemoteFile, Tag("url")],
            Discriminator(lambda value: "path" if isinstance(value, str) else "url"),
        ]
        | None
    ) = None
    """ImageNet-Real's real.json, a path or {url, sha256 or md5}: more labels for val."""


ABOUT = AboutDataset(
    reader="pipeline.datasets.imagenet.imagenet",
    target="cls",
    classes=1000,
    images={"train": 1_281_167, "val": 50_000},
    bytes=150_000_000_000,
    synthetic="pipeline.datasets.synthetic.relations",
    rehearsal=Synthetic(train=16, val=4, image_size=256),
    section=ImageNet,
    origin=Origin(
        "ImageNet-1K", "https://www.image-net.org/", "https://www.image-net.org/download.php"
    ),
)
