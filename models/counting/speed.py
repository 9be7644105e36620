"""A classifier's speed and memory on this device.

Inference and training follow the authors' protocol: one batch, 50 times to warm up and 30 times on
the clock, each of these synchronised and timed by itself.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

QUARTERS = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
PRECISIONS = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Protocol:
    """How a speed is taken: images of a batch, and how many of them warm up and are timed."""

    batch_size: int
    warmup: int
    timed: int


@dataclass(frozen=True)
class Rate:
    """Images per second: the median over batches, and the quartiles."""

    median: float
    quartiles: tuple[float, float]


TIMES_SLOWER = 3.0
"""By how much a network may be slower than one of more MACs before something else must have been
running.
"""


def measure(
    model: nn.Module,
    image_size: int,
    protocol: Protocol,
    device: torch.device,
    amp: str,
    channels_last: bool,
) -> dict[str, Any]:
    """Time a classifier of 1,000 classes on random images (B, 3, image_size, image_size).

    Args:
        model: moved to the device, and trained a few steps.
        image_size: pixels of a side.
        protocol: how the speed is taken.
        device: where.
        amp: none, bf16 or fp16.
        channels_last: the memory layout of images and weights.

    Returns:
        Images per second in inference and in training, median and quartiles over the timed batches,
        the peak of memory in MB, and how they were taken.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(protocol.batch_size, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=layout)
    labels = torch.randint(0, 1000, (protocol.batch_size,), device=device)
    precision = torch.autocast(device.type, dtype=PRECISIONS[amp], enabled=amp != "none")
    load = load_average()

    model.eval()
    inference = _rate(_inference(model, images, precision), protocol, device)
    model.train()
    training = _rate(_training(model, images, labels, precision), protocol, device)

    return {
        "image_size": image_size,
        "batch_size": protocol.batch_size,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "load_average": load,
        "precision": amp if amp != "none" else "fp32",
        "layout": "channels_last" if channels_last else "contiguous",
        "inference_images_per_second": round(inference.median, 1),
        "inference_quartiles": [round(value, 1) for value in inference.quartiles],
        "train_images_per_second": round(training.median, 1),
        "train_quartiles": [round(value, 1) for value in training.quartiles],
        "warmup": protocol.warmup,
        "timed": protocol.timed,
        "peak_memory_mb": round(_peak_memory(device), 1),
        "torch": torch.__version__,
    }


def doubts(profile: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what cannot be true of a profile, in half-sentences: something else was running.

    Args:
        profile: with `macs`, and what `measure` returns.
        others: profiles by the same protocol, each with the name of its `variant`.
    """
    inference = profile["inference_images_per_second"]
    sentences = []
    if profile["train_images_per_second"] > inference:
        sentences.append("training was faster than inference")
    for other in others:
        faster = other["inference_images_per_second"] / inference
        if other["macs"] >= profile["macs"] and faster >= TIMES_SLOWER:
            sentences.append(
                f"it was {faster:.1f} times slower than {other['variant']}, which has no fewer MACs"
            )

    return sentences


def _inference(model: nn.Module, images: Tensor, precision: torch.autocast) -> Callable[[], None]:
    def infer() -> None:
        with torch.inference_mode(), precision:
            model(images)

    return infer


def _training(
    model: nn.Module, images: Tensor, labels: Tensor, precision: torch.autocast
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=images.is_cuda or None)

    def train() -> None:
        with precision:
            loss = nn.functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train


def _rate(step: Callable[[], None], protocol: Protocol, device: torch.device) -> Rate:
    """Return images per second over the timed calls, each timed by itself."""
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(protocol.warmup):
        step()

    seconds = []
    for _ in range(protocol.timed):
        wait()
        start = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - start)

    rates = protocol.batch_size / torch.tensor(seconds, dtype=torch.float64)
    low, median, high = rates.quantile(QUARTERS).tolist()
    return Rate(median, (low, high))


def load_average() -> float | None:
    """Return how many processes wanted a core over the last minute; None where nobody counts."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _peak_memory(device: torch.device) -> float:
    """Return the peak in MB: of the device's allocator, or of this whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss is bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def device_name(device: torch.device) -> str:
    """Return what people call the device: a GPU's product name, or `cpu` and the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), ""
    )
    return f"cpu {named or platform.processor() or platform.machine()}".strip()
