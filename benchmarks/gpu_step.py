"""Training steps of whole networks on a GPU: bfloat16 autocast, channels-last, fused AdamW.

Each network as it is and compiled, beside timm's Swin-T with plain attention, with fused attention
and compiled. Prints one JSON line a figure. `--device cpu` walks the code on a small image.
"""

from collections.abc import Callable

import timm
import torch
from timm.layers import set_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common.gpu import device_asked, interleaved, peak_bytes
from benchmarks.common.side_by_side import tell
from models import create_model

CLASSES, SIDE, BATCH = 1000, 224, 128
ROUNDS, WARMUP = 10, 5
COMMAND = "make bench only=gpu_step"
NETWORKS = ("dwnet_tiny", "dynamic_dwnet_tiny", "i_dynamic_dwnet_tiny", "swin_tiny")
GOALS = {("dwnet_tiny", "plain"): 2.2, ("dwnet_tiny", "compiled"): 1.35}
"""Of the same way against timm's Swin-T, plain or compiled."""


def stepper(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a training step of a network."""
    fused = images.is_cuda
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=fused)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def swin(way: str, side: int) -> nn.Module:
    """Return timm's Swin-T with the attention that a name says."""
    set_fused_attn(way == "fused", experimental=way == "fused")
    name = "swin_tiny_patch4_window7_224"
    model: nn.Module = timm.create_model(name, num_classes=CLASSES, img_size=side)
    return model


def main() -> None:
    device = device_asked("Training steps on a GPU beside timm's Swin-T.")
    on_gpu = device.type == "cuda"
    batch, side = (BATCH, SIDE) if on_gpu else (2, 56)
    images = torch.randn(batch, 3, side, side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (batch,), device=device)

    def made(model: nn.Module, compiled: bool) -> Callable[[], None]:
        model = model.to(device).to(memory_format=torch.channels_last).train()
        if compiled:
            model.compile()
        return stepper(model, images, labels)

    peers = {
        "plain": made(swin("plain", side), compiled=False),
        "fused": made(swin("fused", side), compiled=False),
    }
    if on_gpu:
        peers["compiled"] = made(swin("plain", side), compiled=True)
    for name in NETWORKS:
        for way in ("plain", "compiled") if on_gpu else ("plain",):
            network = create_model(name, num_classes=CLASSES, image_size=side)
            ours = made(network, way == "compiled")
            taken = interleaved([ours, *peers.values()], device, ROUNDS, WARMUP)
            held = round(peak_bytes(ours, device) / 2**20)
            for peer, theirs in zip(peers, taken[1:], strict=True):
                tell(
                    f"{name}, training step, bf16, {way}",
                    f"timm swin_tiny, {peer}",
                    (taken[0], theirs),
                    GOALS.get((name, way)) if way == peer else None,
                    None,
                    COMMAND,
                    images_per_second=round(1e3 * batch / taken[0]),
                    megabytes=held,
                )


if __name__ == "__main__":
    main()
