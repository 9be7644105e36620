"""Measure a variant on this device: `python -m pipeline.profile dwnet_micro`."""

from typing import Any

from pipeline.core.errors import UserError, nearest
from pipeline.core.files import whole_folder
from pipeline.project import cli
from pipeline.project.call import Call
from pipeline.runs.profiling import profile_of
from pipeline.runs.results.files import publish_json
from pipeline.runs.results.profile import ProfileFile


def main() -> None:
    """Measure the variant that the command line names and publish profile.json."""
    parser = cli.parser(
        "Parameters, MACs, images/s and peak memory of a classification variant.",
        "python -m pipeline.profile dwnet_micro",
    )
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
    measured = profile_of(call.params, name, call.folders.results("profile"))
    with whole_folder(call.folders.results("profile", name)) as folder:
        publish_json(folder / "profile.json", ProfileFile, measured)

    print(
        f"{name}: {measured['parameters'] / 1e6:.2f} M parameters and "
        f"{measured['macs'] / 1e9:.3f} G MACs at {measured['classes']:,} classes; "
        f"{_rates(measured, 'inference')} in inference, {_rates(measured, 'train')} in training, "
        f"{measured['inference_macs_per_second'] / 1e9:,.1f} G MACs/s ({measured['device']}, "
        f"{measured['threads']} threads, load {measured['load_average']})"
    )
    for doubt in measured["doubts"]:
        print(f"{name}: this cannot be: {doubt}; measure it again on a quiet machine")


def _rates(measured: dict[str, Any], what: str) -> str:
    low, high = measured[f"{what}_quartiles"]
    return f"{measured[f'{what}_images_per_second']:,.0f} images/s ({low:,.0f} to {high:,.0f})"


if __name__ == "__main__":
    cli.main(main)
