"""What a job publishes, on its way back: one file among the logs of the job's node, which the
dashboard hands out.

The file is a tar behind the hex SHA-256 of it and a line's end.
"""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.files import whole_folder, write_bytes
from pipeline.project.call import Call

DIGEST = 64


def file_of(name: str) -> str:
    """Return what the file of the job `name` is called."""
    return f"results-{name}.tar"


def pack(results: Path, folders: Sequence[str], target: Path) -> None:
    """Write the folders under `results` into one file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for folder in folders:
            tar.add(results / folder, folder)
    data = content.getvalue()
    write_bytes(target, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def publish(call: Call, packed: bytes, folders: Sequence[str]) -> None:
    """Put the folders of a packed file in the place of those of the same names, whole or not at
    all.

    Raises:
        UserError: the file is not what was packed.
    """
    stated = packed[:DIGEST]
    data = packed[DIGEST + 1 :]
    if hashlib.sha256(data).hexdigest().encode() != stated:
        raise UserError(
            "the results did not arrive as they were sent; give the same command again, which "
            "fetches them anew"
        )

    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for name in folders:
            place = call.folders.results(*name.split("/"))
            with call.alone("publish", name.replace("/", "-")), whole_folder(place) as folder:
                _extract(tar, name, folder)


def _extract(tar: tarfile.TarFile, name: str, folder: Path) -> None:
    """Write the members under `name` into a folder: plain files and folders alone."""
    for member in tar.getmembers():
        if member.name.startswith(f"{name}/"):
            inside = member.replace(name=member.name.removeprefix(f"{name}/"), deep=False)
            tar.extract(inside, folder, filter="data")
