"""Networks that differ in how they mix neighbours and in nothing else (arXiv 2106.04263).

`create_model("dwnet_tiny")` gives a classifier, `create_backbone("dwnet_tiny")` its four feature
maps. Names are `MIXER_SIZE`: a mixer is a file of `models/mixers/`, a size is micro, tiny, small or
base; `timm:NAME` is any model of timm. Importing this package is free; building a network imports
torch alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["create_backbone", "create_model", "list_models"]


def create_model(name: str, num_classes: int = 1000, **overrides: Any) -> nn.Module:
    """Build a classifier: normalised images (B, 3, H, W) -> logits (B, num_classes).

    Starting values are drawn from torch's global generator; seed it for a repeatable model. The
    maps run fastest with images in channels_last memory.

    Args:
        name: `MIXER_SIZE` as in `list_models()`, or `timm:NAME`.
        num_classes: length of the logits.
        **overrides: `embed_dim`, `depths` and `num_heads` (four each), `drop_path_rate`,
            `mlp_ratio`, `image_size` (pixels; only mixers with weights per position are bound to
            it), `pad_to` (depth-wise blocks fill their map up to multiples of it, 7 in the authors'
            downstream networks), `shrink_windows` (false in official Swin's downstream networks:
            maps smaller than a window are filled up), `remainder` (`cut` leaves out the last rows
            and columns of an image whose sides 4 does not divide, as the authors' classifiers do,
            and is the default; `pad` fills them up with zeros), and the mixer's own: `kernel_size`
            everywhere but in global attention, `group_channels` (channels that share weights; in
            attention those of a head, in place of `num_heads`) or `groups`, `skeleton` in sliding
            attention, and the paper's ablations, `norm`, `projection_norm`, `se`, `shift`,
            `position_bias`, `shared_windows`, `row_bias`; each mixer's file says which it takes and
            what they do. A mixer's option may be four values, one a stage. For timm, whatever its
            model takes.

    Raises:
        ValueError: an unknown name or override (the nearest right one is given), or a value that
            does not fit.
    """
    from models.mixers.timm import PREFIX, create_timm
    from models.registry import build_classifier

    if name.startswith(PREFIX):
        return create_timm(name, num_classes, overrides)
    return build_classifier(name, num_classes, overrides)


def create_backbone(name: str, **overrides: Any) -> nn.Module:
    """Build a backbone: images (B, 3, H, W) -> four maps (B, C_i, H/4/2^i, W/4/2^i), sides rounded
    up.

    Its attribute `channels` gives the C_i. It is the `backbone` of the classifier of the same name,
    so that the classifier's weights under `backbone.` fit it.

    Args:
        name: as in `create_model`.
        **overrides: as in `create_model`, with `remainder` at `pad` (the authors' detectors and
            segmenters), and `output_norm`: `ln` (official Swin) or `bn` (the authors' depth-wise
            networks) puts a norm behind each map.

    Raises:
        ValueError: as `create_model`.
    """
    from models.mixers.timm import PREFIX, create_timm_backbone
    from models.registry import build_backbone

    if name.startswith(PREFIX):
        return create_timm_backbone(name, overrides)
    return build_backbone(name, overrides)


def list_models() -> list[str]:
    """Names of all networks of this package, `MIXER_SIZE`, sorted by mixer and by size."""
    from models.registry import list_models

    return list_models()
