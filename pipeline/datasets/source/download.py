"""Downloads that a broken connection or a kill only delays, and that are what their checksum says.

A file grows as NAME.part and takes its name when it is whole and on disk. What was checked once is
noted in .NAME.json with its size and time, so that it is not read again.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from pipeline.core import failpoints
from pipeline.core.errors import UserError, discreet
from pipeline.core.files import write_json
from pipeline.core.locks import locked
from pipeline.core.progress import Progress
from pipeline.params import RemoteFile

BLOCK = 1 << 20
TRIES = 8  # in a row that bring nothing new
FIRST_WAIT = 1.0  # seconds before the next try, doubled each time
LONGEST_WAIT = 30.0
CONNECT = 15.0  # seconds until a server counts as gone: before it answers, and while it sends
SILENCE = 60.0


class _BrokenError(Exception):
    """A try that failed in a way that another one may not."""


def download(remote: RemoteFile, folder: Path) -> Path:
    """Return the file that a URL names; it is downloaded unless it lies in `folder` with the right
    checksum.

    Raises:
        UserError: the server refuses, gives something else, or breaks off too often; the disk has
            no room; another process is downloading the same file.
    """
    path = folder / remote.file_name
    if _noted(path, remote):
        return path

    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    with _held(partial):
        if path.exists() and _wrong(path, remote) is None:
            _note(path, remote)
            return path

        joined = _receive_all(remote, partial)
        if (
            wrong := _wrong(partial, remote)
        ) is not None and joined:  # the pieces may be of two files
            _restart(partial)
            _receive_all(remote, partial)
            wrong = _wrong(partial, remote)
        if wrong is not None:
            size = partial.stat().st_size
            _restart(partial)
            raise UserError(
                f"{discreet(remote.url)} gives other bytes than it should: {wrong}; {size} "
                "bytes came"
            )

        # on disk before it has its name: a file of this name is whole
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        _tag_file(partial).unlink(missing_ok=True)
        _note(path, remote)
    return path


def _receive_all(remote: RemoteFile, part: Path) -> bool:
    """Receive until the file is whole, over as many connections as it takes; return whether there
    was more than one.
    """
    import requests

    tries = 0
    most = _size(part)
    started = _size(part) > 0
    while True:
        try:
            _receive(remote.url, part)
            return started
        except requests.exceptions.SSLError as error:
            raise UserError(
                f"{discreet(remote.url)}: the server's certificate is not trusted"
            ) from error
        except (requests.ConnectionError, requests.Timeout, _BrokenError) as error:
            # others quote the query
            reason = str(error) if isinstance(error, _BrokenError) else type(error).__name__
        except requests.RequestException as error:
            raise UserError(
                f"{discreet(remote.url)} cannot be downloaded: {type(error).__name__}"
            ) from None

        tries = 1 if _size(part) > most else tries + 1
        most = max(most, _size(part))
        started = True
        if tries >= TRIES:
            raise UserError(
                f"{discreet(remote.url)} broke off {tries} times in a row after {_size(part)} "
                f"bytes ({reason}); "
                "the same command continues there"
            )

        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1))
        print(
            f"{part.name}: {reason} after {_size(part)} bytes, next try in {wait:.0f} s",
            file=sys.stderr,
        )
        time.sleep(wait)


def _receive(url: str, part: Path) -> None:
    """Receive over one connection what is not there yet, or all where the server or the file want
    it so.

    Raises:
        _BrokenError, requests.RequestException: it is worth another try.
        UserError: it is not.
    """
    import requests

    have = _size(part)
    tag = _tag(part, url)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": tag} if tag else {})

    with requests.Session() as session:
        session.hooks["response"].append(_check_redirect)
        with session.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENCE)) as response:
            start = _start(response, url, part, have, tag)
            if start is None:
                return

            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            _check_room(part, (total or start) - start)
            write_json(_tag_file(part), {"url": _digest_of(url), "tag": _new_tag(response)})
            _write(response, part, start, total)


def _start(response: Any, url: str, part: Path, have: int, tag: str | None) -> int | None:
    """Return from which byte on the answer goes; None where nothing is left to come."""
    status = response.status_code
    offered = response.headers.get("Content-Range", "")
    if status == 416 and have:
        if offered == f"bytes */{have}":
            return None
        _restart(part)
        raise _BrokenError("the file has become shorter")
    if status in (408, 429) or status >= 500:
        raise _BrokenError(f"the server answers {status}")
    if status not in (200, 206):
        raise UserError(f"{discreet(url)}: the server answers {status} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(
            f"{discreet(url)} is a web page and no file; is a login or another address needed?"
        )

    if status == 200:
        return 0
    if not offered.startswith(f"bytes {have}-") or (tag and _new_tag(response) != tag):
        _restart(part)
        raise _BrokenError("the file has changed")
    return have


def _write(response: Any, part: Path, start: int, total: int | None) -> None:
    """Write the answer from byte `start` on, as the bytes come: some servers call a .gz file a way
    of sending.
    """
    from urllib3.exceptions import HTTPError

    progress = Progress(f"download {part.stem}", total, "bytes", brief=True) if total else None

    with open(part, "r+b", buffering=0) as file:
        file.truncate(start)
        file.seek(start)
        try:
            for number, block in enumerate(response.raw.stream(BLOCK, decode_content=False)):
                file.write(block)
                failpoints.reach("download.block", number=number)
                if progress:
                    progress.show(file.tell())
        except HTTPError as error:
            raise _BrokenError(type(error).__name__) from None
        if total is not None and file.tell() != total:
            raise _BrokenError(f"{file.tell()} bytes of {total}")


def _check_redirect(response: Any, *_: Any, **__: Any) -> None:
    """Stop before a redirect is followed to another kind of address, a less safe one included."""
    if response.is_redirect:
        before = urlsplit(response.url).scheme
        after = urlsplit(urljoin(response.url, response.headers["location"])).scheme
        if after not in (("https",) if before == "https" else ("http", "https")):
            raise UserError(
                f"{discreet(response.url)} leads from {before} to {after}, which is not followed"
            )


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{part.parent} has {free / 1e9:.1f} GB free, the download needs {needed / 1e9:.1f} "
            "GB more"
        )


def _wrong(path: Path, remote: RemoteFile) -> str | None:
    """Return how a file differs from its checksums, or None."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in remote.digests}
    size = path.stat().st_size
    done = 0
    progress = Progress(f"check {path.name}", size, "bytes", brief=True)

    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            for each in hashes.values():
                each.update(block)
            done += len(block)
            progress.show(done)

    hexdigests = {name: each.hexdigest() for name, each in hashes.items()}
    differs = [
        f"{name} {hexdigests[name]}, not {expected}"
        for name, expected in remote.digests.items()
        if hexdigests[name] != expected
    ]

    return ", ".join(differs) or None


def _note_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _note(path: Path, remote: RemoteFile) -> None:
    """Write down that a file has its checksums."""
    seen = path.stat()
    write_json(
        _note_file(path),
        {"size": seen.st_size, "mtime_ns": seen.st_mtime_ns, "digests": remote.digests},
    )


def _noted(path: Path, remote: RemoteFile) -> bool:
    """Return whether a file was checked and has not changed since."""
    try:
        seen = path.stat()
        note = json.loads(_note_file(path).read_bytes())
        same = (note["size"], note["mtime_ns"]) == (seen.st_size, seen.st_mtime_ns)
        return same and all(
            note["digests"].get(name) == digest for name, digest in remote.digests.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _tag_file(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")


def _tag(part: Path, url: str) -> str | None:
    """Return what tells the version of the file that the beginning is of, if the server said so."""
    try:
        noted = json.loads(_tag_file(part).read_bytes())
        return str(noted["tag"]) if noted["tag"] and noted["url"] == _digest_of(url) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _new_tag(response: Any) -> str | None:
    """Return an answer's strong entity tag, or else when the file was last changed."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _digest_of(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()  # the URL itself may hold a secret


def _restart(part: Path) -> None:
    os.truncate(part, 0)
    _tag_file(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Keep other processes from the same download."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(part, wait=False))
        except BlockingIOError:
            raise UserError(f"{part} is being downloaded by another process; wait for it") from None
        try:
            yield
        finally:
            if part.exists() and not _size(part):
                part.unlink()
