"""Measure a variant on this device: `python -m pipeline.profile dwnet_micro`.

Inference follows the authors' protocol: one batch, 50 warm-up forwards, 30 timed forwards, synchronised.
"""

import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import cli
from pipeline.cli import Call
from pipeline.errors import UserError, nearest
from pipeline.files import whole_folder, write_json
from pipeline.params import Recipe, Variant


def main() -> None:
    """Measure the variant that the command line names and publish profile.json."""
    parser = cli.parser("Parameters, FLOPs, images/s and peak memory of a classification variant.")
    parser.add_argument("variant", help="an entry of classify.variants, or a stage of DVC, as in profile@dwnet_micro")
    call = cli.call(parser.parse_args())
    name = cli.words_of(call.args.variant)[-1]
    if name not in call.params.classify.variants:
        raise UserError(f"classify.variants has no '{name}'; {nearest(name, call.params.classify.variants)}")
    with call.alone("profile", name):
        profile(call, name)


def profile(call: Call, name: str) -> None:
    """Measure a variant and publish the figures."""
    measured = measure(call, call.params.classify.variants[name], call.params.classify.recipe_of(name))
    with whole_folder(call.folders.results("profile", name)) as folder:
        write_json(folder / "profile.json", {"variant": name, **measured})
    print(
        f"{name}: {measured['parameters'] / 1e6:.2f} M parameters, {measured['flops'] / 1e9:.3f} G FLOPs, "
        f"{measured['inference_images_per_second']:.0f} images/s in inference, "
        f"{measured['train_images_per_second']:.0f} in training ({measured['device']})"
    )


def measure(call: Call, variant: Variant, recipe: Recipe) -> dict[str, Any]:
    """Return parameters, FLOPs, speed and memory of a variant, and how they were taken."""
    import torch

    import models
    from models.flops import count_flops, count_parameters

    numbers = call.params.profile
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    torch.manual_seed(0)
    try:
        bound = {} if variant.mixer == "timm" else {"image_size": recipe.image_size}
        model = models.create_model(variant.model_name, num_classes=1000, **bound, **variant.overrides)
    except ValueError as error:
        raise UserError(str(error)) from None
    counted = count_flops(model, recipe.image_size)
    model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(numbers.batch_size, 3, recipe.image_size, recipe.image_size, device=device)
    images = images.contiguous(memory_format=layout)
    labels = torch.randint(0, 1000, (numbers.batch_size,), device=device)
    precision = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[recipe.amp]
    amp = torch.autocast(device.type, dtype=precision, enabled=recipe.amp != "none")

    def infer() -> None:
        with torch.inference_mode(), amp:
            model(images)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device.type == "cuda" or None)

    def train() -> None:
        with amp:
            loss = torch.nn.functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    model.eval()
    inference = _rate(infer, numbers.batch_size, numbers.warmup, numbers.timed, device.type)
    model.train()
    training = _rate(train, numbers.batch_size, numbers.train_warmup, numbers.train_timed, device.type)
    return {
        "mixer": variant.mixer, "size": variant.size, "model": variant.model_name, "overrides": variant.overrides,
        "parameters": count_parameters(model), "flops": counted["total"], "flops_rule": counted["rule"],
        "image_size": recipe.image_size,
        "batch_size": numbers.batch_size, "device": _device_name(device), "threads": torch.get_num_threads(),
        "precision": recipe.amp if recipe.amp != "none" else "fp32",
        "layout": "channels_last" if recipe.channels_last else "contiguous",
        "inference_images_per_second": round(inference, 1), "train_images_per_second": round(training, 1),
        "warmup": numbers.warmup, "timed": numbers.timed, "peak_memory_mb": round(_peak_memory(device), 1),
        "torch": torch.__version__,
    }  # fmt: skip


def _rate(step: Callable[[], None], images: int, warmup: int, timed: int, device: str) -> float:
    """Return images per second over `timed` calls, after `warmup` calls."""
    import torch

    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(warmup):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(timed):
        step()
    wait()
    return images * timed / (time.perf_counter() - start)


def _peak_memory(device: Any) -> float:
    """Return the peak in MB: of the device's allocator, or of this whole process on a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss is bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _device_name(device: Any) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return f"cpu {named or platform.processor() or platform.machine()}".strip()


if __name__ == "__main__":
    cli.main(main)
