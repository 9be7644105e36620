"""Pack the results for others: `python -m pipeline.crate` writes `crate/`, an RO-Crate of reports,
metrics, weights and parameters, with Croissant metadata of the data sets.

The images stay where they are, and nothing is sent anywhere.
"""

from pipeline.core.progress import say
from pipeline.packaging.crate import write_crate
from pipeline.project import cli


def main() -> None:
    """Write the crate, and say what could not be described."""
    parser = cli.parser(
        "Pack results, parameters and licence as one RO-Crate, with Croissant metadata of the "
        "data sets.",
        "python -m pipeline.crate",
    )
    call = cli.call(parser.parse_args())
    folder = call.folders.root / "crate"

    missing = write_crate(call, folder)
    if missing:
        say(f"no shards here, so no Croissant metadata: {', '.join(missing)}")
    print(folder)


if __name__ == "__main__":
    cli.main(main)
