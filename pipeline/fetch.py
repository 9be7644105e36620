"""`python -m pipeline.fetch DATASET`: look at the raw data, downloading them first where params
name URLs.

The inventory data/raw/DATASET.json holds counts, a digest of the listing and every file that cannot
be used. Only names and sizes are looked at; `pipeline.shard` decodes.
"""

from pipeline.core.files import clear_leftovers, write_json
from pipeline.datasets import dates
from pipeline.datasets.inventory import inventory, may_be_rewritten, request, resolve
from pipeline.datasets.source.names import printable
from pipeline.params import DATASETS
from pipeline.project import cli
from pipeline.project.call import Call


def main() -> None:
    """Run the command."""
    parser = cli.parser(
        "List a raw data set and write its inventory.",
        "python -m pipeline.fetch imagenet",
    )
    parser.add_argument("dataset", choices=DATASETS)
    call = cli.call(parser.parse_args())
    with call.alone("fetch", call.args.dataset):
        fetch(call, call.args.dataset)


def fetch(call: Call, name: str) -> None:
    """List the raw data and write the inventory."""
    listing = resolve(name, call.params, call.project)
    record = inventory(listing, request(name, call.params))
    clear_leftovers(call.folders.raw(name))
    write_json(call.folders.raw(name), record)

    for warning in record["warnings"]:
        print(f"warning: {printable(warning)}")

    if may_be_rewritten(name, call.params):
        if dates.rewritten(call.folders.dates(name), listing):
            print(
                f"warning: files in {printable(str(listing.root))} were written since they were "
                "fetched last, none "
                "with another size; shards made before hold what was there then "
                f"({call.again(f'shard@{name}', force=True)})"
            )
        dates.remember(call.folders.dates(name), listing)

    for entry in listing.quarantined:
        print(f"refused: {entry}")

    counts = ", ".join(
        f"{split} {split_record['samples']}" for split, split_record in record["splits"].items()
    )
    print(
        f"{name}: {counts} images, {record['classes']} classes, {len(record['refused'])} files "
        "refused; "
        f"listing {record['digest'][:12]}"
    )


if __name__ == "__main__":
    cli.main(main)
