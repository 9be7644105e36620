"""How long an image takes where nothing was measured: round figures of devices.

They are there for the plan of a fresh clone: near what others published for such networks (Swin's
README for a V100, timm's and InceptionNeXt's tables for newer ones), rounded, and measured by
nobody here.
"""

from pipeline.params import Cluster, Gpu

BASIS = "round figures"
"""How the basis of such a time begins."""
CORE = "cpu core"
MACS = 3.8e9
IMAGES_PER_SECOND: dict[Gpu | str, float] = {
    CORE: 2.0,  # of a laptop
    "V100": 1000.0,
    "A100": 3000.0,
    "H100": 5000.0,
    "H200": 5000.0,
}
"""Inference of a network of so many multiply-adds: `dwnet_tiny` at 224 pixels."""
TRAINING = 3.0
"""How many times as long an image takes in training: forward, and backward twice that."""


def device_of(cluster: Cluster, gpu: Gpu) -> str:
    """Return what a worker computes on: such a GPU, or the cores of a CPU."""
    if cluster.gpus_per_worker != "auto":
        return gpu if cluster.gpus_per_worker else CORE
    import torch  # takes seconds; the operations that are scaled need it too

    return gpu if torch.cuda.is_available() else CORE


def seconds(device: str, macs: float) -> float:
    """Return how long a forward pass of so many multiply-adds keeps a GPU or a core busy."""
    return macs / (MACS * IMAGES_PER_SECOND[device])
