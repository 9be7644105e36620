"""`python -m pipeline.fetch DATASET`: look at the raw data and write down what is there.

The inventory data/raw/DATASET.json holds counts, a digest of the listing and every file that cannot be used. Only
names and sizes are looked at; `pipeline.shard` decodes.
"""

from pathlib import Path
from typing import Any

from pipeline import cli
from pipeline.datasets import Listing, list_folder
from pipeline.datasets.synthetic import folder_name, materialise
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.params import DATASETS, Dataset, Params


def main() -> None:
    """Run the command."""
    parser = cli.parser("List a raw data set and write its inventory.")
    parser.add_argument("dataset", choices=DATASETS)
    call = cli.call(parser.parse_args())
    with call.alone("fetch", call.args.dataset):
        fetch(call, call.args.dataset)


def fetch(call: cli.Call, name: str) -> None:
    """List the raw data and write the inventory."""
    listing = resolve(name, call.params, call.project)
    found = inventory(listing, request(name, call.params))
    write_json(call.folders.raw(name), found)
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    for entry in listing.quarantined:
        print(f"refused: {entry}")
    counts = ", ".join(f"{split} {part['samples']}" for split, part in found["splits"].items())
    print(
        f"{name}: {counts} images, {found['classes']} classes, {len(found['refused'])} files refused; "
        f"listing {found['digest'][:12]}"
    )


def section(name: str, params: Params) -> Dataset:
    """Return the section `data.<name>`."""
    dataset: Dataset = getattr(params.data, name)
    return dataset


def request(name: str, params: Params) -> dict[str, Any]:
    """Return what was asked for, as the inventory keeps it: the section `data.<name>` as plain values."""
    return section(name, params).model_dump(mode="json")


def resolve(name: str, params: Params, project: Path) -> Listing:
    """List the raw data that the params name; stand-ins are drawn first where they are not there yet.

    Raises:
        UserError: the source is missing, not a folder, or not in the data set's layout.
    """
    asked = section(name, params)
    if asked.source == "synthetic":
        folder = project / "data" / "raw" / "synthetic" / folder_name(name, asked.synthetic)
        materialise(name, asked.synthetic, folder)
        return list_folder(name, folder, {})
    if "://" in asked.source:
        raise UserError(f"data.{name}.source: {asked.source} is a URL; download and unpack it, then name the folder")
    splits = {str(split): folder for split, folder in asked.splits.items()}
    return list_folder(name, project / Path(asked.source).expanduser(), splits)


def inventory(listing: Listing, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the inventory of a listing; paths in it are relative to the source."""
    places = listing.tree.files
    splits = {}
    for split, samples in listing.splits.items():
        files = listing.files_in(split)
        shown = {sample.target for sample in samples if isinstance(sample.target, int)}
        part = {"samples": len(samples), "files": len(files), "bytes": sum(places[path].size for path in files)}
        splits[split] = part | ({"classes": len(shown)} if shown else {})
    return {
        "request": asked,
        "digest": listing.digest(),
        "listed": listing.listed,
        "classes": len(listing.classes),
        "metadata": listing.metadata,
        "splits": splits,
        "refused": [entry.record() for entry in listing.quarantined],
        "ignored": [entry.record() for entry in listing.ignored],
        "warnings": listing.warnings,
    }


if __name__ == "__main__":
    cli.main(main)
