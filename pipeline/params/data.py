"""Where raw data come from: synthetic images, folders, archives, or URLs with checksums."""

import os
import string
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from pipeline.core.errors import discreet
from pipeline.params.section import Positive, Section

FILE_NAME = frozenset(string.ascii_letters + string.digits + "-_.")


class Synthetic(Section):
    """How many stand-in images to draw, how large (pixels), and from which seed."""

    train: Positive = 3000
    """Training images to draw."""
    val: Positive = 1000
    """Validation images to draw."""
    image_size: Annotated[int, Field(ge=32)] = 64
    """Side of a drawn image, pixels."""
    seed: Annotated[int, Field(ge=0)] = 0
    """What the images are drawn from."""


class RemoteFile(Section):
    """A file to download: its address, and the checksums that it must have, at least one."""

    url: str
    """Address of the file, http:// or https://."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Its SHA-256, 64 hexadecimal digits."""
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    """Its MD5, 32 hexadecimal digits."""

    @model_validator(mode="after")
    def usable(self) -> Self:
        """Check the address without repeating it in messages: it may hold a secret."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url should start with http:// or https:// and a server's name")
        if parts.username is not None:
            raise ValueError(
                "url holds a user's name, which would be published with it; put it into ~/.netrc"
            )
        if not self.file_name or self.file_name.startswith(".") or set(self.file_name) - FILE_NAME:
            raise ValueError("url should end in a file's name, of letters, digits and -_.")
        if not self.digests:
            raise ValueError(
                "sha256 or md5 is missing: without a checksum nobody knows what was downloaded"
            )
        return self

    @property
    def file_name(self) -> str:
        """What the file is called on disk."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    @property
    def digests(self) -> dict[str, str]:
        """The checksums by the name of their algorithm."""
        return {
            name: value for name in ("sha256", "md5") if (value := getattr(self, name)) is not None
        }


def _local(path: str) -> str:
    if not path.isascii() and os.fsencode(path).decode(errors="replace") != path:
        safe = os.fsencode(path).decode(errors="backslashreplace")
        raise ValueError(
            f"{safe} is not UTF-8 text, and results name their source; rename it, or link to it"
        )
    if "://" in path:
        raise ValueError("a URL needs its checksum; write {url: ..., sha256: ...}, or md5")
    return path


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _some(remotes: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
    if len({remote.file_name for remote in remotes}) < max(1, len(remotes)):
        raise ValueError("name at least one URL, and no two with the same file name")
    return remotes


Local = Annotated[
    str, BeforeValidator(lambda value: _local(value) if isinstance(value, str) else value)
]
Remotes = Annotated[tuple[RemoteFile, ...], BeforeValidator(_listed), AfterValidator(_some)]


class Dataset(Section):
    """One raw data set: `source` is `synthetic`, a folder in the official layout, official
    archives, or their URLs.

    `splits` names the folder of a split where it is not found by itself. `hold_out` is the fraction
    of the training split (of each class) that becomes the validation split of data without one.
    `limit` keeps so many samples of a split, spread over its classes. What is drawn so depends on
    names and `seed` alone. `follow_links` follows links out of the source.
    """

    source: Annotated[
        Annotated[Local, Tag("path")] | Annotated[Remotes, Tag("urls")],
        Discriminator(lambda value: "path" if isinstance(value, str) else "urls"),
    ] = "synthetic"
    """`synthetic`, a folder or archives in the official layout, or [{url, sha256 or md5}]."""
    splits: dict[Literal["train", "val"], str] = Field(default_factory=dict)
    """Folder of a split (train, val), where it is not found by itself."""
    limit: dict[Literal["train", "val"], Positive] = Field(default_factory=dict)
    """Most samples of a split (train, val), spread over its classes."""
    hold_out: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fraction of the training split that serves as val where the data have none."""
    seed: Annotated[int, Field(ge=0)] = 0
    """What `limit` and `hold_out` draw from."""
    follow_links: bool = False
    """Follow links that lead out of the source."""
    synthetic: Synthetic = Synthetic()

    @model_validator(mode="after")
    def drawn_whole(self) -> Self:
        """Check that nothing is asked of synthetic images that they do not take: they are drawn in
        the official layout.
        """
        if self.source == "synthetic" and self.hold_out is not None:
            raise ValueError(
                "hold_out is for data without a validation split; synthetic data have one"
            )
        return self

    @property
    def origin(self) -> str:
        """The source as results name it."""
        return (
            self.source
            if isinstance(self.source, str)
            else ", ".join(discreet(remote.url) for remote in self.source)
        )
