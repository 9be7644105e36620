"""What detection and segmentation share: a backbone inside a larger network, and images padded to
one size.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from models.weights.official import convert_backbone
from pipeline.core.errors import UserError
from pipeline.loading.images import normalise
from pipeline.params import BaseRecipe, Variant


def build(
    make: Callable[..., nn.Module],
    variant: Variant,
    recipe: BaseRecipe,
    smallest: tuple[int, int],
    **settings: Any,
) -> nn.Module:
    """Return `make(name, **settings, **overrides)`; `smallest` is the least (height, width) of a
    training image.

    Raises:
        UserError: the network cannot be built, takes maps of one size only, or cannot be trained in
            micro-batches so small.
    """
    from models.heads import freeze_batchnorm_statistics, smallest_batch

    try:
        model = make(variant.model_name, **settings, **variant.overrides)
    except ValueError as error:
        raise UserError(str(error)) from None

    _refuse_one_map_size(model.get_submodule("backbone"), variant)
    if recipe.frozen_bn:
        if recipe.init_from is None:
            raise UserError(
                "frozen_bn keeps the statistics that init_from brings, and init_from is null"
            )
        freeze_batchnorm_statistics(model.get_submodule("backbone"))

    least, why = smallest_batch(model, smallest)
    if recipe.micro_batch < least:
        raise UserError(
            f"{variant.model_name} cannot be trained in micro-batches of {recipe.micro_batch}: "
            f"{why}; "
            f"use micro_batch {least} or more, or frozen_bn with classification weights where it "
            "is in the backbone"
        )
    return model


def _refuse_one_map_size(backbone: nn.Module, variant: Variant) -> None:
    switches = getattr(backbone, "switches", None)
    if switches is not None and not switches.shared_positions and not switches.dynamic:
        raise UserError(
            f"{variant.model_name} has weights for each position of one map, and images here are "
            "of many sizes; "
            "it can be trained for classification alone"
        )


def load_given(model: nn.Module, weights: dict[str, Tensor], variant: Variant) -> list[str]:
    """Load a classifier's backbone and return what stays fresh: the heads, and the norms of the
    feature maps.

    Raises:
        UserError: the weights are of another variant or size, which is named.
    """
    backbone_weights = {
        name: value for name, value in weights.items() if name.startswith("backbone.")
    }
    try:
        converted = convert_backbone(backbone_weights, variant.model_name, **variant.overrides)
    except ValueError as error:
        raise UserError(f"init_from: {error}") from None

    backbone = model.get_submodule("backbone")
    missing = backbone.load_state_dict(converted, strict=False).missing_keys
    parts = {name.split(".")[0] for name in missing} | {
        name for name, _ in model.named_children()
    } - {"backbone"}

    return sorted(parts)


def prepare(
    images: Tensor, sizes: list[tuple[int, int]], device: torch.device, channels_last: bool
) -> Tensor:
    """Return images (B, 3, H, W) normalised in float32 on the device; what was added as padding is
    zero after it.
    """
    images = normalise(images.to(device, non_blocking=True))
    for image, (height, width) in zip(images, sizes, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return images.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def photographs(raw: dict[str, Any]) -> list[Image.Image]:
    """Return the images of a batch as they were collated, without their padding."""
    cut = (
        image[:, :height, :width]
        for image, (height, width) in zip(raw["images"], raw["sizes"], strict=True)
    )
    return [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in cut]
