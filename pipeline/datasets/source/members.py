"""What archives hold, as their lists of members say; no member is unpacked here."""

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.datasets.source.place import LOCAL_HEADER, FilePlace, Stored, Unzipped, Zipped

BLOCK = 512  # of a tar
PACKINGS = {
    b"\x1f\x8b": ("gzip", ".gz", "gunzip"),
    b"BZh": ("bzip2", ".bz2", "bunzip2"),
    b"\xfd7zXZ": ("xz", ".xz", "unxz"),
}
"""How files begin that are no plain tars: what packed them, the ending of their names, and what
unpacks them.
"""
UTF8_FLAG = 0x800
LARGEST_RATIO = 100  # a member may declare this many times the bytes that it takes up ...
ALWAYS_ALLOWED = 1 << 20  # ... and these on top; photographs and annotations stay far below
GZIP_CHUNK = 1 << 20


class ArchiveMember(NamedTuple):
    """A member: its name as it stands, and its place; without one it is a folder (name/), or
    refused for a reason.

    `inside` is the name of the tar that holds it in another one, without its extension.
    """

    name: str
    place: FilePlace | None = None
    refused: str = ""
    detail: str = ""
    inside: str = ""


def members_of(path: Path, nested: bool = False) -> Iterator[ArchiveMember]:
    """Yield the members of a tar, tar.gz or zip. Large ones report their progress on stderr.

    Args:
        path: the archive.
        nested: whether a member NAME.tar stands for the folder NAME with the members of that tar.

    Raises:
        UserError: the archive cannot be read, is cut off or damaged.
    """
    try:
        if path.name.endswith(".zip"):
            yield from _zip(path)
        elif path.name.endswith(".gz"):
            yield from _tar_gz(path)
        else:
            yield from _tar(path, nested)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _tar(path: Path, nested: bool) -> Iterator[ArchiveMember]:
    size = path.stat().st_size
    _check_packing(path)
    progress = Progress(f"listing {path.name}", size, "bytes", brief=True)

    with open(path, "rb") as file:
        for info in _headers(file, str(path), 0, size):
            if nested and info.isreg() and not info.issparse() and info.name.endswith(".tar"):
                yield from _inner(file, path, info)
            else:
                yield _tar_member(info, lambda offset, size: Stored(str(path), offset, size))
            progress.show(min(size - 1, info.offset_data + info.size))
    progress.show(size)


def _check_packing(path: Path) -> None:
    """Stop at a tar that is compressed as a whole: its members can be read in place only where it
    is not.
    """
    with open(path, "rb") as file:
        start = file.read(max(map(len, PACKINGS)))

    for magic, (packing, ending, tool) in PACKINGS.items():
        if start.startswith(magic):
            raise UserError(
                f"{path} is compressed with {packing}; call it {path.name}{ending} and run "
                f"{tool} on it once"
            )


def _inner(file: IO[bytes], path: Path, outer: tarfile.TarInfo) -> Iterator[ArchiveMember]:
    """Yield a folder and its members for a tar in a tar."""
    folder = outer.name.removesuffix(".tar")
    yield ArchiveMember(folder + "/")
    start = outer.offset_data
    for info in _headers(file, f"{outer.name} in {path}", start, start + outer.size):
        member = _tar_member(info, lambda offset, size: Stored(str(path), offset, size))
        yield member._replace(inside=folder)


def _tar_gz(path: Path) -> Iterator[ArchiveMember]:
    size = _unpacked_size(path)
    with gzip.open(path) as file:
        for info in _headers(cast(IO[bytes], file), str(path), 0, size):
            yield _tar_member(info, lambda offset, size: Unzipped(str(path), offset, size))


def _headers(file: IO[bytes], name: str, start: int, end: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members of the tar from `start` to `end` of an open file, and make sure that it is
    whole.
    """
    file.seek(start)
    where = start

    try:
        archive = tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        while (info := archive.next()) is not None:
            where = archive.offset  # where the next header starts
            if where > end:
                raise UserError(
                    f"{name} is cut off: {info.name} ends at byte {where - start}, "
                    f"{_found(start, end)}"
                )
            yield info
            if where == end:
                break
        file.seek(where)
        mark = file.read(BLOCK) if where < end else b""
    except (tarfile.TarError, ValueError) as error:
        raise UserError(
            f"{name} is damaged after byte {where - start}: {error}; {_found(start, end)}"
        ) from None

    if len(mark) < BLOCK or where + BLOCK > end:
        raise UserError(
            f"{name} is cut off: its end mark should start at byte {where - start}, "
            f"{_found(start, end)}"
        )
    if any(mark):
        raise UserError(f"{name} is damaged: neither a member nor the end at byte {where - start}")


def _found(start: int, end: int) -> str:
    return f"but there are {end - start} bytes"


def _tar_member(info: tarfile.TarInfo, place: Callable[[int, int], FilePlace]) -> ArchiveMember:
    """Return a tar's member; links and devices are not followed, nor are sparse files expanded."""
    if info.isdir():
        return ArchiveMember(info.name + "/")
    if not info.isreg() or info.issparse():
        return ArchiveMember(info.name, refused="not_a_file", detail=_tar_kind(info))
    return ArchiveMember(info.name, place(info.offset_data, info.size))


def _tar_kind(info: tarfile.TarInfo) -> str:
    """Return what a member is that is no file."""
    kinds = {tarfile.LNKTYPE: "a hard link to", tarfile.SYMTYPE: "a link to"}
    link = kinds.get(info.type)
    return f"{link} {info.linkname}" if link else f"tar type {info.type.decode('ascii', 'replace')}"


def _unpacked_size(path: Path) -> int:
    """Return what a gzip file unpacks to, and stop where that is out of all proportion."""
    packed = path.stat().st_size
    size = 0
    allowed = LARGEST_RATIO * packed + ALWAYS_ALLOWED

    try:
        with gzip.open(path) as file:
            while chunk := file.read(GZIP_CHUNK):
                size += len(chunk)
                if size > allowed:
                    raise UserError(
                        f"{path} unpacks from {packed} to more than {allowed} bytes, which no "
                        "data do"
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} is cut off or damaged: {error}; {packed} bytes unpack to {size}"
        ) from None

    return size


def _zip(path: Path) -> Iterator[ArchiveMember]:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{path} is cut off or no zip: {error}; expected the list of its members at the end "
            f"of its {size} bytes"
        ) from None

    taken = sum(info.compress_size for info in infos)
    if taken > size:
        raise UserError(
            f"{path} is damaged: its members take up {taken} bytes, but there are {size}"
        )

    for info in infos:
        end = info.header_offset + LOCAL_HEADER + info.compress_size
        if end > size:
            raise UserError(
                f"{path} is cut off: {info.filename} ends at byte {end}, but there are {size} bytes"
            )
        yield _zip_member(path, info)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name: before zipfile cuts it at a NUL, and in UTF-8 where that is what it
    is.

    Without the flag that says so zipfile takes names for code page 437; macOS and others write
    UTF-8 and no flag.
    """
    name = info.orig_filename
    if info.flag_bits & UTF8_FLAG:
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


def _zip_member(path: Path, info: zipfile.ZipInfo) -> ArchiveMember:
    """Return a zip's member."""
    name = _zip_name(info)
    file_type = stat.S_IFMT(info.external_attr >> 16)
    if name.endswith("/"):
        return ArchiveMember(name)
    if file_type not in (0, stat.S_IFREG):
        return ArchiveMember(name, refused="not_a_file", detail=stat.filemode(file_type))
    if info.flag_bits & 1:
        return ArchiveMember(name, refused="encrypted_member")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return ArchiveMember(
            name, refused="unknown_compression", detail=f"method {info.compress_type}"
        )
    if info.file_size > LARGEST_RATIO * info.compress_size + ALWAYS_ALLOWED:
        detail = f"declares {info.file_size} bytes, takes up {info.compress_size}"
        return ArchiveMember(name, refused="declared_too_large", detail=detail)
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        return ArchiveMember(
            name, refused="damaged_member", detail="stored in more or fewer bytes than it has"
        )

    place = Zipped(
        str(path),
        info.header_offset,
        info.compress_size,
        info.file_size,
        info.compress_type,
        info.CRC,
    )
    return ArchiveMember(name, place)
