"""Networks that differ in how they mix neighbours and in nothing else (arXiv 2106.04263).

`create_model("dwnet_tiny")` gives a classifier, `create_backbone("dwnet_tiny")` its four feature
maps. Names are `MIXER_SIZE`: a mixer is a file of `models/mixers/`, a size is micro, tiny, small or
base; `timm:NAME` is any model of timm. `load("results/classify/dwnet_tiny")` gives a network that
was trained. Importing this package is free; building a network imports torch alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__all__ = ["create_backbone", "create_model", "list_models", "load", "load_backbone"]


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


def load(path: str | Path) -> nn.Module:
    """Return a published network with its weights, on the CPU and in eval mode.

    The file's metadata say how it is built; nothing in it is run. The network has, besides,

    - `classes`: the names of its classes, in the order of its outputs;
    - `transform`: a PIL picture in any mode -> a normalised image (3, H, W), as in the evaluation;
      `transform.stack` makes a batch of such images, and says how large each one's own part is;
    - `config`: all that the file says: task, variant, options, metrics, commit.

    Args:
        path: a file of weights, or a folder of results with a `model.safetensors` in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, does not say what it is, or names a network that this
            version cannot build.
    """
    from models.published.loading import load

    return load(path)


def load_backbone(path: str | Path) -> nn.Module:
    """Return the backbone of a published network, in eval mode: images -> maps, as those of
    `create_backbone`.

    That of a detector or segmenter has the norms behind its maps that it was trained with.

    Args:
        path: as in `load`.

    Raises:
        FileNotFoundError: as `load`.
        ValueError: as `load`.
    """
    from models.published.loading import load_backbone

    return load_backbone(path)
