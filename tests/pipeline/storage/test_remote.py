"""Names for people hold no secrets; what cannot be read is said shortly."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT
from stores import BUCKET, Store

from pipeline.storage.remote import Missing, ObjectFolder, RemoteFolder, Unreachable


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


LACKING = """
import sys
sys.modules[sys.argv[1]] = None
from pipeline.core.errors import UserError
from pipeline.storage.remote import RemoteFolder
try:
    RemoteFolder(sys.argv[2]).size("x")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "url", "extra"), [("s3fs", "s3://bucket/a", "s3"), ("gcsfs", "gs://bucket/a", "gs")]
)
def test_a_protocol_without_its_package_is_named(package: str, url: str, extra: str) -> None:
    command = [sys.executable, "-c", LACKING, package, url]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{url}: {url[:5]} needs the package {package}; install it in every node's environment: "
        f'pip install -e ".[{extra}]"\n'
    )


def test_objects_are_written_read_created_once_and_removed(store: Store) -> None:
    folder = ObjectFolder(f"s3://{BUCKET}/a")
    folder.write("x", b"1")
    assert b"".join(folder.blocks("x")) == b"1" and folder.size("x") == 1
    with pytest.raises(Missing, match=r"^not found$"):
        folder.read("y")
    with pytest.raises(Missing, match=r"^not found$"):
        list(folder.blocks("y"))
    assert folder.create("y", b"1") and not folder.create("y", b"2")
    assert folder.read("y") == b"1"
    folder.remove(["y", "never"])
    assert folder.sizes("") == {"x": 1}


def test_a_store_that_is_down_is_said_by_its_kind(store: Store) -> None:
    store.stop()
    with pytest.raises(Unreachable, match=r"^EndpointConnectionError$"):
        ObjectFolder(f"s3://{BUCKET}/a").read("x")
