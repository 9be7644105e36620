"""Measure a variant on this device: `python -m pipeline.profile dwnet_micro`."""

from typing import Any

from pipeline.core.errors import UserError, nearest
from pipeline.core.files import whole_folder
from pipeline.params import Params
from pipeline.project import cli
from pipeline.project.call import Call
from pipeline.runs.results import ProfileFile, publish_json


def main() -> None:
    """Measure the variant that the command line names and publish profile.json."""
    parser = cli.parser("Parameters, MACs, images/s and peak memory of a classification variant.")
    parser.add_argument(
        "variant",
        help="an entry of classify.variants, or a stage of DVC, as in profile@dwnet_micro",
    )
    call = cli.call(parser.parse_args())
    name = cli.words_of(call.args.variant)[-1]
    if name not in call.params.classify.variants:
        raise UserError(
            f"classify.variants has no '{name}'; {nearest(name, call.params.classify.variants)}"
        )
    with call.alone("profile", name):
        profile(call, name)


def profile(call: Call, name: str) -> None:
    """Measure a variant and publish the figures."""
    measured = measured_of(call.params, name)
    with whole_folder(call.folders.results("profile", name)) as folder:
        publish_json(folder / "profile.json", ProfileFile, {"variant": name, **measured})
    print(
        f"{name}: {measured['parameters'] / 1e6:.2f} M parameters, {measured['macs'] / 1e9:.3f} "
        "G MACs, "
        f"{measured['inference_images_per_second']:.0f} images/s in inference, "
        f"{measured['train_images_per_second']:.0f} in training ({measured['device']})"
    )


def measured_of(params: Params, name: str) -> dict[str, Any]:
    """Return parameters, MACs, speed and memory of a variant, and how they were taken.

    Raises:
        UserError: there is no such network.
    """
    import torch

    import models
    from models.counting.macs import count_macs, count_parameters
    from models.counting.speed import Protocol, measure

    variant, recipe = params.classify.variants[name], params.classify.recipe_of(name)
    bound = {} if variant.mixer == "timm" else {"image_size": recipe.image_size}
    torch.manual_seed(0)
    try:
        model = models.create_model(
            variant.model_name, num_classes=1000, **bound, **variant.overrides
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    counted = count_macs(model, recipe.image_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    protocol = Protocol(**params.profile.model_dump())
    return {
        "mixer": variant.mixer,
        "size": variant.size,
        "model": variant.model_name,
        "overrides": variant.overrides,
        "parameters": count_parameters(model),
        "macs": counted["total"],
        "macs_rule": counted["rule"],
        **measure(model, recipe.image_size, protocol, device, recipe.amp, recipe.channels_last),
    }


if __name__ == "__main__":
    cli.main(main)
