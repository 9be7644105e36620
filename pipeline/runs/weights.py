"""Weights from files: published ones, and the authors' checkpoints under their own names.

Imports no torch by itself, so that finished runs publish quickly.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import IO, TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.core.files import sha256_file
from pipeline.params import Variant

if TYPE_CHECKING:
    from torch import Tensor, nn

METADATA = "__metadata__"
LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000
"""What safetensors itself allows."""


def publish_weights(source: Path, target: Path, description: Mapping[str, Any]) -> None:
    """Copy a run's weights and write into the copy what they are; equal input gives equal bytes.

    safetensors writes its metadata in an order that differs from call to call.
    """
    with open(source, "rb") as weights, open(target, "wb") as published:
        tensors = _read_header(weights)

        config = json.dumps(description, sort_keys=True)
        metadata = {"config": config, "format": "pt"}
        header = json.dumps({METADATA: metadata, **tensors}, separators=(",", ":")).encode()
        # safetensors aligns the tensors that follow
        padded = header + b" " * (-len(header) % LENGTH_BYTES)
        published.write(len(padded).to_bytes(LENGTH_BYTES, "little") + padded)
        shutil.copyfileobj(weights, published)


def weights_digest(path: Path) -> str:
    """Return the hex SHA-256 of weights, whatever their file says of itself; of another file's
    bytes where it is not of safetensors.
    """
    with open(path, "rb") as file:
        try:
            tensors = _read_header(file)
        except ValueError:
            return sha256_file(path)

        digest = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _read_header(file: IO[bytes]) -> dict[str, Any]:
    """Return the tensors that a safetensors file names, and leave it at the first of them.

    Raises:
        ValueError: it is no such file.
    """
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > LONGEST_HEADER:
        raise ValueError("it does not begin as a safetensors file")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    return {name: entry for name, entry in header.items() if name != METADATA}


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
