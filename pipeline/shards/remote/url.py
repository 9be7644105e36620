"""Shards at a URL: their bytes and sizes through fsspec, and names for people, without
credentials.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import UserError, bare_address

BLOCK = 1 << 20
SILENCE_S = 60.0  # a server that says nothing for so long is given up


class Unreachable(Exception):
    """A file could not be read from its URL; says why, without the URL, which may hold a
    password.
    """


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of shards as the shard stage wrote it, under a URL or an absolute path."""

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
        try:
            with system.open(
                path, "rb", **({"block_size": 0} if self._http else {})
            ) as file:  # 0: as one stream
                while block := file.read(BLOCK):
                    yield block
        except Exception as error:  # each protocol's library has exceptions of its own
            raise Unreachable(_reason(error)) from None

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where the server does not say.

        Raises:
            Unreachable, UserError: as `blocks`.
        """
        system, path = self._at(name)
        try:
            size: int | None = system.info(path)["size"]
        except Exception as error:
            raise Unreachable(_reason(error)) from None
        return size

    @property
    def _http(self) -> bool:
        return self.url.startswith(("http://", "https://"))

    def _at(self, name: str) -> tuple[Any, str]:
        """Return the file system and a file's path in it; file systems are kept by fsspec, with
        their connections.
        """
        from fsspec.core import url_to_fs

        options: dict[str, Any] = {}
        if self._http:
            import aiohttp

            options["client_kwargs"] = {
                "timeout": aiohttp.ClientTimeout(
                    total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S
                )
            }
        try:
            system, path = url_to_fs(f"{self.url.rstrip('/')}/{name}", **options)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"{self.shown()}: {error}; install it in every node's environment"
            ) from None
        return system, path


def _reason(error: BaseException) -> str:
    """Say what went wrong by its kind alone: messages of the libraries name URLs in full."""
    while (
        error.__cause__ is not None
    ):  # fsspec turns every failure of HTTP into a file that is not found
        error = error.__cause__
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "not found"
    return f"{type(error).__name__}{f' (status {status})' if status else ''}"
