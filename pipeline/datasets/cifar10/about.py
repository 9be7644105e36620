"""What CIFAR-10 is: 32x32 photographs of ten classes."""

from pipeline.params.data import Synthetic
from pipeline.params.registry import AboutDataset, Origin

ABOUT = AboutDataset(
    reader="pipeline.datasets.cifar10.cifar10",
    target="cls",
    classes=10,
    images={"train": 50_000, "val": 10_000},
    bytes=170_000_000,
    synthetic="pipeline.datasets.synthetic.relations",
    rehearsal=Synthetic(train=16, val=4, image_size=32),
    origin=Origin(
        "CIFAR-10",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
)
