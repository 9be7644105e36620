"""Weights from files: published ones, and the authors' checkpoints under their own names."""

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.params import Variant

if TYPE_CHECKING:
    from torch import Tensor, nn


def read_weights(
    path: Path, variant: Variant, image_size: int = 224, dense: "nn.Module | None" = None
) -> "dict[str, Tensor]":
    """Read published weights (safetensors), or an authors' checkpoint, without running code from
    the file.

    `image_size` in pixels matters to networks with weights per position. `dense` is the detector or
    segmenter that the weights are for; without it they are for a classifier.

    Raises:
        UserError: the file cannot be read, holds code, or fits another network; the sentence says
            which.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from models.weights.checkpoints import read_checkpoint
    from models.weights.official import convert, convert_dense, unwrap

    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        ours = path.suffix == ".safetensors"
        content = load_file(path) if ours else read_checkpoint(path)
        if variant.mixer == "timm":
            return unwrap(content)
        if dense is not None:
            return convert_dense(content, variant.model_name, dense)
        if ours:
            return dict(content)
        return convert(
            content, variant.model_name, **{"image_size": image_size, **variant.overrides}
        )
    except OSError as error:
        raise UserError(f"cannot use {path}: {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot use {path}: {shorten(reason, 600, placeholder=' ...')}") from None


def load_into(model: Any, weights: "dict[str, Tensor]", path: Path) -> None:
    """Load weights into a network that they must fit whole.

    Raises:
        UserError: a name or a shape is another.
    """
    expected = model.state_dict()
    for name, value in weights.items():
        if name in expected and value.shape != expected[name].shape:
            raise UserError(
                f"{path} does not fit: {name} has shape {tuple(value.shape)}, the network for "
                "these data "
                f"{tuple(expected[name].shape)}; was it trained on other classes, or with other "
                "settings?"
            )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit: {' '.join(str(error).split())[:300]}") from None
