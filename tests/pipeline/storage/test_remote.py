"""Names for people hold no secrets; what cannot be read is said shortly."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.storage.remote import RemoteFolder, Unreachable


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host:8/a/b", "https://host:8/a/b/train/000000.tar"),
        ("s3://bucket/a/", "s3://bucket/a/train/000000.tar"),
        ("https://host/a?token=secret", "https://host/a/train/000000.tar"),
        ("/mnt/a", "/mnt/a/train/000000.tar"),
    ],
)
def test_shown_names_have_no_credentials(url: str, shown: str) -> None:
    remote = RemoteFolder(url)
    assert remote.shown("train/000000.tar") == shown
    assert "secret" not in f"{remote!r}{remote.shown()}"


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_a_folder_is_read(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "x").write_bytes(b"a" * 3_000_000)
    remote = RemoteFolder(f"{scheme}{tmp_path}")
    assert b"".join(remote.blocks("x")) == b"a" * 3_000_000 and remote.size("x") == 3_000_000
    with pytest.raises(Unreachable, match=r"^not found$"):
        list(remote.blocks("y"))
    with pytest.raises(Unreachable, match=r"^not found$"):
        remote.size("y")


def test_a_closed_port_is_said_without_the_password() -> None:
    with pytest.raises(Unreachable, match=r"^Client\w+$|^ConnectionRefusedError$") as caught:
        list(RemoteFolder("http://user:secret@127.0.0.1:9").blocks("x"))
    assert "secret" not in str(caught.value)


def test_a_protocol_without_its_package_is_named() -> None:
    pytest.importorskip("fsspec")
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"^s3://bucket/a: .*s3fs.*; install it"):
            RemoteFolder("s3://bucket/a").size("x")
    else:
        pytest.skip("s3fs is installed")
