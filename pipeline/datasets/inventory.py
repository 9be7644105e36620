"""The raw data that params name: found, drawn or downloaded, listed, and written down."""

from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.datasets.base import dataset, limited, list_folder
from pipeline.datasets.listing import Listing
from pipeline.datasets.source.names import escaped
from pipeline.datasets.synthetic import folder_name, materialise
from pipeline.params import Dataset, Params, RemoteFile


def section(name: str, params: Params) -> Dataset:
    """Return the section `data.<name>`."""
    entry: Dataset = getattr(params.data, name)
    return entry


def request(name: str, params: Params) -> dict[str, Any]:
    """Return what was asked for, as the inventory keeps it: the section `data.<name>` as plain
    values.
    """
    return section(name, params).model_dump(mode="json")


def may_be_rewritten(name: str, params: Params) -> bool:
    """Return whether the raw files are the user's own; synthetic images and downloads follow from
    the params.
    """
    source = section(name, params).source
    return isinstance(source, str) and source != "synthetic"


def resolve(name: str, params: Params, project: Path) -> Listing:
    """List the raw data that the params name; they are drawn or downloaded first where they are not
    there yet.

    Raises:
        UserError: the source is missing, cannot be downloaded, or is not in the data set's layout.
    """
    entry = section(name, params)
    listing = limited(_listed(name, entry, project), name, entry.limit, entry.seed)
    dataset(name).complete(listing, name, entry, lambda source: _local(source, name, project))
    return listing


def _listed(name: str, entry: Dataset, project: Path) -> Listing:
    if entry.source == "synthetic":
        folder = project / "data" / "raw" / "synthetic" / folder_name(name, entry.synthetic)
        materialise(name, entry.synthetic, folder)
        return list_folder(name, folder, {})

    layout: dict[str, Any] = {
        "splits": entry.splits,
        "annotations": getattr(entry, "annotations", {}),
        "hold_out": entry.hold_out,
        "seed": entry.seed,
        "follow_links": entry.follow_links,
    }

    if isinstance(entry.source, str):
        return list_folder(name, _local(entry.source, name, project), **layout)
    archives = dataset(name).ARCHIVES
    if unknown := [remote.file_name for remote in entry.source if remote.file_name not in archives]:
        raise UserError(
            f"data.{name}.source: {', '.join(unknown)} is not read; the archives are "
            f"{', '.join(archives)}"
        )

    files = [_local(remote, name, project) for remote in entry.source]
    return list_folder(name, files[0].parent, only=[path.name for path in files], **layout)


def _local(source: str | RemoteFile, name: str, project: Path) -> Path:
    """Return a path that the params give, or the file of a URL, downloaded into
    data/raw/<name>/.
    """
    if isinstance(source, str):
        return project / Path(source).expanduser()
    from pipeline.datasets.source.download import download

    return download(source, project / "data" / "raw" / name)


def inventory(listing: Listing, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the inventory of a listing; paths in it are relative to the source."""
    places = listing.tree.files
    splits = {}
    for split, samples in listing.splits.items():
        files = listing.files_in(split)
        labels = {sample.target for sample in samples if isinstance(sample.target, int)}

        counts = {
            "samples": len(samples),
            "files": len(files),
            "bytes": sum(places[path].size for path in files),
        }
        splits[split] = counts | ({"classes": len(labels)} if labels else {})

    return {
        "request": asked,
        "digest": listing.digest(),
        "real_labels": listing.real and listing.real.sha256,
        "listed": listing.listed,
        "classes": len(listing.classes),
        "metadata": {escaped(path): digest for path, digest in listing.metadata.items()},
        "splits": splits,
        "refused": [entry.record() for entry in listing.quarantined],
        "ignored": [entry.record() for entry in listing.ignored],
        "warnings": [escaped(warning) for warning in listing.warnings],
    }
