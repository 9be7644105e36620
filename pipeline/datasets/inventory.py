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
    found: Dataset = getattr(params.data, name)
    return found


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
    asked = section(name, params)
    listing = limited(_listed(name, asked, project), name, asked.limit, asked.seed)
    dataset(name).complete(listing, name, asked, lambda source: _local(source, name, project))
    return listing


def _listed(name: str, asked: Dataset, project: Path) -> Listing:
    if asked.source == "synthetic":
        folder = project / "data" / "raw" / "synthetic" / folder_name(name, asked.synthetic)
        materialise(name, asked.synthetic, folder)
        return list_folder(name, folder, {})
    layout: dict[str, Any] = {
        "splits": asked.splits,
        "annotations": getattr(asked, "annotations", {}),
        "hold_out": asked.hold_out,
        "seed": asked.seed,
        "follow_links": asked.follow_links,
    }
    if isinstance(asked.source, str):
        return list_folder(name, _local(asked.source, name, project), **layout)
    known = dataset(name).ARCHIVES
    if unknown := [remote.file_name for remote in asked.source if remote.file_name not in known]:
        raise UserError(
            f"data.{name}.source: {', '.join(unknown)} is not read; the archives are "
            f"{', '.join(known)}"
        )
    files = [_local(remote, name, project) for remote in asked.source]
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
        shown = {sample.target for sample in samples if isinstance(sample.target, int)}
        part = {
            "samples": len(samples),
            "files": len(files),
            "bytes": sum(places[path].size for path in files),
        }
        splits[split] = part | ({"classes": len(shown)} if shown else {})
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
