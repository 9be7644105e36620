"""`python -m pipeline.shard DATASET`: turn the raw data that fetch listed into verified shards.

Writes data/shards/DATASET: tars that any webdataset reader takes, an index for random access, and a
manifest that accounts for every input file.
"""

from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.datasets import dates
from pipeline.datasets.inventory import may_be_rewritten, request, resolve
from pipeline.params import DATASETS
from pipeline.project import cli
from pipeline.project.call import Call
from pipeline.shards.manifest import Manifest, SplitEntry


def main() -> None:
    """Run the command."""
    parser = cli.parser(
        "Write the shards of a data set that fetch has listed.",
        "python -m pipeline.shard imagenet",
    )
    parser.add_argument("dataset", choices=DATASETS)
    call = cli.call(parser.parse_args())
    with call.alone("shard", call.args.dataset):
        shard(call, call.args.dataset)


def shard(call: Call, name: str) -> None:
    """Write the shards of what fetch found, unless it changed since."""
    path = call.source(lambda folders: folders.raw(name))
    fetched = records.read(path, records.Inventory)
    if fetched is None:
        what = "does not say what was fetched" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}; run `{call.command('fetch', name)}` first")
    if fetched["request"] != request(name, call.params):
        raise UserError(
            f"data.{name} is not what was fetched; run `{call.command('fetch', name)}` first"
        )

    listing = resolve(name, call.params, call.project)
    over = may_be_rewritten(name, call.params) and dates.rewritten(
        call.source(lambda f: f.dates(name)), listing
    )
    if over or listing.digest() != fetched["digest"]:
        raise UserError(
            f"{listing.root} changed since it was fetched; run "
            f"`{call.command('fetch', name)}` again"
        )

    from pipeline.cluster.connection import connected
    from pipeline.shards.build import build

    folder = call.folders.shards(name)
    with connected(call.params.cluster):
        manifest = build(name, listing, call.params.shard, folder, fetched["digest"])

    counts = ", ".join(
        f"{split} {entry.samples} in {len(entry.shards)}"
        for split, entry in manifest.splits.items()
    )
    inputs = manifest.inputs
    print(
        f"{name}: {counts} shards; of {inputs.listed} files {inputs.kept} kept, "
        f"{inputs.files('repaired')} repaired, "
        f"{inputs.files('quarantined')} quarantined, {inputs.files('ignored')} ignored"
    )
    print_account(manifest)


def print_account(manifest: Manifest) -> None:
    """Print what became of each split's annotations, or how many samples its classes have, and what
    was noted.
    """
    for split, entry in manifest.splits.items():
        print(f"{manifest.dataset} {split}: {_account(manifest, entry)}")
    for code, note in manifest.inputs.notes.items():
        print(f"noted: {code} {note.count}, e.g. {ascii(note.examples[0])[1:-1]}")


def _account(manifest: Manifest, entry: SplitEntry) -> str:
    if entry.targets is None:
        counts = entry.per_class()
        empty = f", {counts.count(0)} without any" if 0 in counts else ""
        return f"{min(counts)} to {max(counts)} samples in {len(counts)} classes{empty}"

    words = entry.targets.words(manifest.unit)
    return (
        words
        if entry.targets.seen
        else f"{words}; nothing to train on or to judge by, which training will refuse"
    )


if __name__ == "__main__":
    cli.main(main)
