"""A network as one file for other programs: ONNX, torch.export or TorchScript, compared with the
network before it is given out.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from models.network.backbone import Backbone

LARGEST_DIFFERENCE = 1e-4
"""The most that a file's output may differ from the network's, of the largest of its values or of
1.
"""
STRIDE = 32
"""Sides that are multiples of it need no filling up at any of the four maps."""
Run = Callable[[Tensor], Tensor]


class ExportError(ValueError):
    """A network that a format cannot hold, or a file that is not the network; its text says why."""


@dataclass(frozen=True)
class Format:
    """How one format is written, and read for the comparison."""

    suffix: str
    write: Callable[[nn.Module, Tensor, bool], bytes]
    read: Callable[[bytes], Run]


def export(
    model: nn.Module, format: str, image_size: tuple[int, int], about: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any]]:
    """Return a file of a network in eval mode, and what was found out about it.

    The file takes any number of images; of any height and width that are multiples of 32, from 64
    on, where the network's weights and windows depend on no map size.

    Args:
        model: images (B, 3, H, W) -> one tensor (B, ...); a classifier or segmenter.
        format: one of `FORMATS`.
        image_size: (height, width) in pixels that it is traced with.
        about: goes into the file's metadata under `config`, as JSON.

    Returns:
        The file's bytes, and the record that stands in its metadata under `export`: format,
        `image_size`, `dynamic` (which axes of the input are free), `torch`, and `difference`, the
        largest that was seen on random images.

    Raises:
        ExportError: the network's output is not one tensor, or the file differs from the network.
    """
    refuse(model)
    training = model.training
    model.eval()
    free = _takes_any_size(model) and all(s % STRIDE == 0 and s > STRIDE for s in image_size)
    record: dict[str, Any] = {
        "format": format,
        "image_size": list(image_size),
        "dynamic": ["batch", "height", "width"] if free else ["batch"],
        "torch": torch.__version__,
    }
    sizes = [image_size, (image_size[0] + STRIDE, image_size[1])] if free else [image_size]
    example = torch.rand(2, 3, *image_size)
    file_format = FORMATS[format]

    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters, about their own calls
            content = file_format.write(model, example, free)
            record["difference"] = _difference(model, file_format.read(content), sizes)
            metadata = {"config": json.dumps(about), "export": json.dumps(record)}
            return _with_metadata(format, content, metadata), record
    finally:
        model.train(training)


def refuse(model: nn.Module) -> None:
    """Stop where a network gives more than one tensor.

    Raises:
        ExportError: it is a detector.
    """
    from models.heads.detector import Detector

    if isinstance(model, Detector):
        raise ExportError(
            "a detector cannot be exported: how many boxes it finds, and which of them it looks at "
            "again, depends on the picture, and none of the formats holds that; export a "
            "classifier or segmenter, or use models.load in Python"
        )


def _takes_any_size(model: nn.Module) -> bool:
    """Return whether neither weights nor windows of a network depend on the size of its map, nor
    cells of a pooling, which are traced as they are.
    """
    poolings = [module for module in model.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    if any(pooling.output_size != 1 for pooling in poolings):
        return False

    backbone = next((module for module in model.modules() if isinstance(module, Backbone)), None)
    if backbone is None:
        return False  # somebody else's network, which says nothing of it

    switches = backbone.switches
    own_weights = not switches.shared_positions and not switches.dynamic
    return switches.neighbourhood != "window" and not own_weights


def _difference(model: nn.Module, run: Run, sizes: list[tuple[int, int]]) -> float:
    """Compare a file with its network on random images, of another number than it was traced with.

    Raises:
        ExportError: they differ.
    """
    worst = 0.0
    for batch, size in ((3, sizes[0]), (1, sizes[-1])):
        images = torch.randn(batch, 3, *size)
        with torch.no_grad():
            expected = model(images)
        output = run(images)

        if output.shape != expected.shape:
            raise ExportError(f"the file gives {tuple(output.shape)}, not {tuple(expected.shape)}")
        scale = max(1.0, float(expected.abs().max()))
        worst = max(worst, float((output - expected).abs().max()) / scale)

    if not worst <= LARGEST_DIFFERENCE:
        raise ExportError(
            f"the file differs from the network by {worst:.2g}, more than {LARGEST_DIFFERENCE:.0g}"
        )
    return worst


def _program(model: nn.Module, example: Tensor, free: bool) -> ExportedProgram:
    axes: dict[int, Any] = {0: Dim("batch")}
    if free:
        axes |= {2: STRIDE * Dim("rows", min=2), 3: STRIDE * Dim("columns", min=2)}
    with torch.no_grad():
        return torch.export.export(model, (example,), dynamic_shapes=(axes,))


def _write_program(model: nn.Module, example: Tensor, free: bool) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_program(model, example, free), buffer)
    return buffer.getvalue()


def _read_program(content: bytes) -> Run:
    run: Run = torch.export.load(io.BytesIO(content)).module()
    return run


class OneSize(nn.Module):
    """A traced network that refuses images of another size instead of giving wrong answers."""

    def __init__(self, traced: nn.Module, height: int, width: int) -> None:
        """`traced` was traced with images of `height` and `width`."""
        super().__init__()
        self.traced = traced
        self.height = height
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, height, width) -> what the network gives."""
        if images.shape[2] != self.height or images.shape[3] != self.width:
            raise ValueError("this file takes images of the size alone that it was made for")
        out: Tensor = self.traced(images)
        return out


def _write_script(model: nn.Module, example: Tensor, free: bool) -> bytes:
    with torch.no_grad():
        traced = torch.jit.trace(model, example, check_trace=False)
        if not free:
            traced = torch.jit.script(OneSize(traced, *example.shape[2:]).eval())
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    return buffer.getvalue()


def _read_script(content: bytes) -> Run:
    run: Run = torch.jit.load(io.BytesIO(content))
    return run


def _write_onnx(model: nn.Module, example: Tensor, free: bool) -> bytes:
    program = torch.onnx.export(
        _program(model, example, free),
        input_names=["images"],
        output_names=["output"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


def _read_onnx(content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


FORMATS: Mapping[str, Format] = {
    "onnx": Format(".onnx", _write_onnx, _read_onnx),
    "torch_export": Format(".pt2", _write_program, _read_program),
    "torchscript": Format(".torchscript", _write_script, _read_script),
}


def _with_metadata(format: str, content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the file with metadata, where each format keeps such."""
    buffer = io.BytesIO()
    if format == "onnx":
        import onnx

        proto = onnx.load_from_string(content)
        onnx.helper.set_model_props(proto, dict(metadata))
        return bytes(proto.SerializeToString())

    if format == "torch_export":
        program = torch.export.load(io.BytesIO(content))
        torch.export.save(program, buffer, extra_files=dict(metadata))
    else:
        torch.jit.save(torch.jit.load(io.BytesIO(content)), buffer, _extra_files=dict(metadata))
    return buffer.getvalue()


def read_metadata(file: Path) -> dict[str, Any]:
    """Return what an exported file says of itself: `config` and `export`."""
    texts = {"config": "", "export": ""}
    if file.suffix == FORMATS["onnx"].suffix:
        import onnx

        texts = {prop.key: prop.value for prop in onnx.load(file).metadata_props}
    elif file.suffix == FORMATS["torch_export"].suffix:
        torch.export.load(file, extra_files=texts)
    else:
        torch.jit.load(file, _extra_files=texts)

    return {name: json.loads(value) for name, value in texts.items()}
