"""Files under a URL: their bytes and sizes through fsspec, and names for people, without
credentials.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, bare_address, disk_full

BLOCK = 1 << 20
SILENCE_S = 60.0  # a server that says nothing for so long is given up
CONNECT_S = 10.0
PACKAGES = {"s3": ("s3fs", "[s3]"), "gs": ("gcsfs", "[gs]")}
"""The package that speaks a protocol, and the extra of this project that brings it."""


class Unreachable(Exception):
    """A file could not be read or written at its URL; says why, without the URL, which may hold a
    password.
    """


class Missing(Unreachable):
    """There is no such file, or nothing at all, at the URL."""


class Taken(Unreachable):
    """An object that was to be created is there already, or is just being created."""


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of files under a URL or an absolute path."""

    url: str = field(repr=False)

    def shown(self, name: str = "") -> str:
        """Return the URL of a file in the folder as people may see it: no user, password or
        query.
        """
        return f"{bare_address(self.url).rstrip('/')}/{name}".rstrip("/")

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes as they arrive, up to a megabyte at a time.

        Raises:
            Unreachable: the file is not there, or stopped arriving.
            UserError: the URL's protocol needs a package that is not installed.
        """
        system, path = self._at(name)
        stream = {"block_size": 0} if self._http else {}  # 0: as one stream
        with _by_kind(), system.open(path, "rb", **stream) as file:
            while block := file.read(BLOCK):
                yield block

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where the server does not say.

        Raises:
            Unreachable, UserError: as `blocks`.
        """
        system, path = self._at(name)
        with _by_kind():
            size: int | None = system.info(path)["size"]
        return size

    @property
    def _http(self) -> bool:
        return self.url.startswith(("http://", "https://"))

    def _at(self, name: str) -> tuple[Any, str]:
        """Return the file system and a file's path in it; file systems are kept by fsspec, with
        their connections.
        """
        from fsspec.core import url_to_fs

        protocol = self.url.partition("://")[0]
        try:
            system, path = url_to_fs(f"{self.url.rstrip('/')}/{name}", **self._options(protocol))
        except (ImportError, ValueError) as error:
            raise UserError(f"{self.shown()}: {_lacking(protocol, error)}") from None
        return system, path

    def _options(self, protocol: str) -> dict[str, Any]:
        """Return a file system's options: nothing waits for ever, nothing listed is remembered."""
        if self._http:
            import aiohttp

            limits = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S)
            return {"client_kwargs": {"timeout": limits}}
        if protocol == "s3":
            config = {
                "connect_timeout": CONNECT_S,
                "read_timeout": SILENCE_S,
                "retries": {"total_max_attempts": 1},  # s3fs tries five times itself
            }
            return {"use_listings_cache": False, "config_kwargs": config}
        if protocol == "gs":
            return {"use_listings_cache": False}
        return {}


@dataclass(frozen=True)
class ObjectFolder(RemoteFolder):
    """Objects under a URL of a store (s3://, gs://): whole or not there, some created only once.

    Every method raises `Unreachable` where the store does not do it, and UserError where the
    protocol's package is not installed.
    """

    def sizes(self, part: str) -> dict[str, int]:
        """Return the names of the objects under `part`, relative to it, with their bytes."""
        system, path = self._at(part)
        try:
            with _by_kind():
                objects = system.find(path, detail=True)
        except Missing:
            return {}
        return {name.removeprefix(f"{path}/"): about["size"] for name, about in objects.items()}

    def read(self, name: str) -> bytes:
        """Return an object's bytes; `Missing` where it is not there."""
        system, path = self._at(name)
        with _by_kind():
            data: bytes = system.cat_file(path)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in place of one that is there."""
        system, path = self._at(name)
        with _by_kind():
            system.pipe_file(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one; say whether there was none."""
        system, path = self._at(name)
        try:
            with _by_kind():
                system.pipe_file(path, data, mode="create")
        except Taken:
            return False
        return True

    def upload(self, file: Path, name: str) -> None:
        """Write an object from a file, in parts where it is large; it appears whole."""
        system, path = self._at(name)
        with _by_kind():
            system.put_file(str(file), path)

    def download(self, name: str, file: Path) -> None:
        """Write a file from an object."""
        system, path = self._at(name)
        with _by_kind():
            system.get_file(path, str(file))

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; what is not there is passed over."""
        for name in names:
            system, path = self._at(name)
            with contextlib.suppress(Missing), _by_kind():
                system.rm_file(path)


@contextlib.contextmanager
def _by_kind() -> Iterator[None]:
    """Turn what a protocol's library raises, which is of its own kind, into `Unreachable`.

    Said is the kind alone: messages of the libraries name URLs in full.

    Raises:
        DiskFull: what arrives finds no room on this machine.
    """
    try:
        yield
    except Exception as error:
        full = disk_full(error) if isinstance(error, OSError) else None
        raise full or _kind(error) from None


def _kind(error: BaseException) -> Unreachable:
    if isinstance(error, FileExistsError):
        return Taken("it is there already")
    if isinstance(error, PermissionError):
        return Unreachable("access denied")
    while error.__cause__ is not None:
        # fsspec turns every failure of HTTP into a file that is not found
        error = error.__cause__

    status = getattr(error, "status", getattr(error, "code", None))
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    if code == "NoSuchBucket":
        return Unreachable("there is no such bucket")
    if status == 412 or code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return Taken("it is there already")
    if isinstance(error, FileNotFoundError) or status == 404 or code in ("NoSuchKey", "404"):
        return Missing("not found")
    reason = code or status
    return Unreachable(f"{type(error).__name__}{f' (status {reason})' if reason else ''}")


def _lacking(protocol: str, error: Exception) -> str:
    """Say which package a protocol lacks."""
    if protocol not in PACKAGES:
        return f"{error}; install it in every node's environment"
    package, extra = PACKAGES[protocol]
    return (
        f"{protocol}:// needs the package {package}; install it in every node's environment: "
        f'pip install -e ".{extra}"'
    )
