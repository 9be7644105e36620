"""Heads for dense tasks around any backbone: Cascade Mask R-CNN (arXiv 1712.00726) and UPerNet
(arXiv 1807.10221).

They follow mmdetection 2.11 and mmsegmentation 0.11, which the authors used. Importing this package
is free; building a network imports torch and torchvision. Batch norms are plain; a caller with
several ranks converts them to `SyncBatchNorm`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.heads.settings import CascadeSettings, ProposalSettings, UPerNetSettings

if TYPE_CHECKING:
    from models.heads.batchnorm import freeze_batchnorm_statistics, smallest_batch
    from models.heads.detector import Detector
    from models.heads.masks import paste
    from models.heads.segmenter import Segmenter, segmentation_loss

__all__ = [
    "CASCADE",
    "PROPOSALS",
    "UPERNET",
    "CascadeSettings",
    "ProposalSettings",
    "UPerNetSettings",
    "create_detector",
    "create_segmenter",
    "freeze_batchnorm_statistics",
    "paste",
    "segmentation_loss",
    "smallest_batch",
]

PROPOSALS = ProposalSettings()
CASCADE = CascadeSettings()
UPERNET = UPerNetSettings()
"""The paper's numbers."""

_HOMES = {
    "freeze_batchnorm_statistics": "batchnorm",
    "smallest_batch": "batchnorm",
    "paste": "masks",
    "segmentation_loss": "segmenter",
}


def create_detector(
    name: str,
    num_classes: int = 80,
    *,
    proposals: ProposalSettings = PROPOSALS,
    cascade: CascadeSettings = CASCADE,
    **overrides: Any,
) -> Detector:
    """Build Cascade Mask R-CNN: images and sizes -> losses or detections, see `Detector.forward`.

    Starting values are drawn from torch's global generator.

    Args:
        name: `MIXER_SIZE` as in `models.list_models()`, or `timm:NAME` of a network with maps at
            strides 4 to 32.
        num_classes: classes without the background.
        proposals: numbers of the region proposal network.
        cascade: numbers of the box and mask heads.
        **overrides: those of `models.create_backbone`. `output_norm`, `pad_to` and `shrink_windows`
            have the authors' downstream values: `bn` and the kernel's side for depth-wise blocks,
            `ln`, 1 and false for attention (paper, section 4.5).

    Raises:
        ValueError: as `models.create_backbone`, or a timm network without these maps.
    """
    from models.heads.backbones import dense_backbone
    from models.heads.detector import Detector

    return Detector(dense_backbone(name, overrides), num_classes, proposals, cascade)


def create_segmenter(
    name: str, num_classes: int = 150, *, upernet: UPerNetSettings = UPERNET, **overrides: Any
) -> Segmenter:
    """Build UPerNet with its auxiliary head: images -> logits, see `Segmenter.forward`.

    Args:
        name: as for `create_detector`.
        num_classes: classes, without the one that is ignored.
        upernet: numbers of the heads.
        **overrides: as for `create_detector`.

    Raises:
        ValueError: as `create_detector`.
    """
    from models.heads.backbones import dense_backbone
    from models.heads.segmenter import Segmenter

    return Segmenter(dense_backbone(name, overrides), num_classes, upernet)


def __getattr__(name: str) -> Any:
    """Find the functions that need torch at import."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
