"""What ADE20K is."""

from pipeline.params.data import Synthetic
from pipeline.params.registry import AboutDataset, Origin

ABOUT = AboutDataset(
    reader="pipeline.datasets.ade20k.ade20k",
    target="png",
    classes=150,
    images={"train": 20_210, "val": 2_000},
    bytes=1_000_000_000,
    synthetic="pipeline.datasets.synthetic.regions",
    rehearsal=Synthetic(train=4, val=1, image_size=512),
    origin=Origin(
        "ADE20K",
        "https://ade20k.csail.mit.edu/",
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/",
    ),
)
