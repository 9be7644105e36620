"""Downloads against a server that breaks off, ignores ranges, changes its file, or sends something
else.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import PROJECT, make_project
from packing import below, make_zip

from pipeline.core.errors import UserError
from pipeline.datasets.source import download as module
from pipeline.datasets.source.download import download
from pipeline.datasets.synthetic import materialise
from pipeline.params import RemoteFile, Synthetic

DATA = os.urandom(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves one file; the switches say how badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.tag: str | None = '"one"'
        self.dated: str | None = None
        self.ranges = self.conditions = True
        self.breaks = 0  # connections that end after `portion` bytes
        self.portion = 700_000
        self.answers: list[int] = []  # status codes to give before anything else
        self.kind, self.location = "application/zip", ""
        self.asked: list[str | None] = []
        self.after: Callable[[], None] = lambda: None

    def handle_error(self, *_: object) -> None:
        pass  # who was killed hangs up

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/a.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.answers:
            self.send_response(server.answers.pop(0))
            if server.location:
                self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        condition = self.headers.get("If-Range")
        same = not server.conditions or condition is None or condition in (server.tag, server.dated)
        start = int(wanted[6:-1]) if wanted and server.ranges and same else 0
        if start and start >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}"
            )
        for name, value in (("ETag", server.tag), ("Last-Modified", server.dated)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if server.breaks > 0:
            server.breaks -= 1
            body = body[: server.portion]
        self.wfile.write(body)
        server.after()
        self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "BLOCK", 100_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server: Server, data: bytes = DATA) -> RemoteFile:
    return RemoteFile(url=server.url, sha256=hashlib.sha256(data).hexdigest())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download(remote(server), tmp_path / "in")
    assert path.read_bytes() == DATA and names(tmp_path / "in") == {"a.zip", ".a.zip.json"}
    with monkeypatch.context() as patch:  # neither asked for nor read again
        patch.setattr(module, "_wrong", None)
        assert download(remote(server), tmp_path / "in") == path
    path.touch()  # read again, but not asked for
    assert download(remote(server), tmp_path / "in") == path and server.asked == [None]
    path.write_bytes(DATA[:-1] + b"x")  # no longer the file that was asked for
    assert download(remote(server), tmp_path / "in").read_bytes() == DATA and len(server.asked) == 2


def test_both_checksums_count(server: Server, tmp_path: Path) -> None:
    good, md5 = remote(server), hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    assert download(good.model_copy(update={"md5": md5}), tmp_path).read_bytes() == DATA
    with pytest.raises(UserError, match=f"md5 {md5}, not {'0' * 32}"):
        download(good.model_copy(update={"md5": "0" * 32}), tmp_path / "other")


def test_a_server_that_breaks_off_is_asked_for_the_rest(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.breaks = 4
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert server.asked == [None, *(f"bytes={n * 700_000}-" for n in (1, 2, 3, 4))]
    assert "after 700000 bytes, next try" in capsys.readouterr().err


def test_a_server_that_ignores_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.breaks, server.ranges = 3, False
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert len(server.asked) == 4


@pytest.mark.parametrize(("ranges", "portion", "tries"), [(True, 0, 8), (False, 700_000, 9)])
def test_tries_end_where_nothing_new_comes(
    server: Server, tmp_path: Path, ranges: bool, portion: int, tries: int
) -> None:
    server.breaks, server.ranges, server.portion = 1000, ranges, portion
    with pytest.raises(UserError, match="broke off 8 times in a row"):
        download(remote(server), tmp_path)
    assert 8 <= len(server.asked) <= tries


def change(server: Server, data: bytes, tag: str | None) -> Callable[[], None]:
    """Return what puts another file in place of the first one, once."""

    def once() -> None:
        server.data, server.tag, server.after = data, tag, lambda: None

    return once


NEW = os.urandom(2_500_000)


@pytest.mark.parametrize(
    ("tags", "conditions", "asked", "noticed"),
    [
        (
            ('"one"', '"two"'),
            True,
            2,
            False,
        ),  # the condition makes the server send all of the new file
        (('"one"', '"two"'), False, 3, True),  # the answer's tag gives it away
        ((None, None), True, 3, False),  # the checksum does
        (('W/"one"', 'W/"two"'), True, 3, False),
    ],
    ids=["if-range", "range without condition", "no tags", "weak tags"],
)
def test_a_file_that_changes_in_between_comes_whole(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tags: tuple[str | None, str | None],
    conditions: bool,
    asked: int,
    noticed: bool,
) -> None:
    server.breaks, server.tag, server.conditions = 1, tags[0], conditions
    server.after = change(server, NEW, tags[1])
    assert download(remote(server, NEW), tmp_path).read_bytes() == NEW
    assert (
        len(server.asked) == asked
        and ("the file has changed" in capsys.readouterr().err) == noticed
    )


@pytest.mark.parametrize(("tags", "asked"), [((None, None), 3), (('"one"', '"two"'), 2)])
def test_a_file_that_became_shorter_comes_whole(
    server: Server, tmp_path: Path, tags: tuple[str | None, str | None], asked: int
) -> None:
    server.breaks, server.tag, short = 1, tags[0], NEW[:500_000]
    server.after = change(server, short, tags[1])
    assert (
        download(remote(server, short), tmp_path).read_bytes() == short
        and len(server.asked) == asked
    )


def test_a_part_that_is_whole_already_is_enough(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(DATA)
    assert download(remote(server), tmp_path).read_bytes() == DATA and server.asked == [
        f"bytes={len(DATA)}-"
    ]


def test_wrong_bytes_are_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"other bytes than it should: sha256 .* 3000000 bytes came"
    ):
        download(remote(server, NEW), tmp_path)
    assert names(tmp_path) == set() and len(server.asked) == 1


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_what_is_not_there_stops_at_once(server: Server, tmp_path: Path, code: int) -> None:
    server.answers = [code]
    with pytest.raises(UserError, match=f"the server answers {code}"):
        download(remote(server), tmp_path)
    assert len(server.asked) == 1 and names(tmp_path) == set()


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.answers = [503, 429, 500]
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_a_web_page_is_no_file(server: Server, tmp_path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(UserError, match="is a web page and no file"):
        download(remote(server), tmp_path)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/a.zip", "file:///etc/passwd"])
def test_a_redirect_to_another_scheme_is_not_followed(
    server: Server, tmp_path: Path, location: str
) -> None:
    server.answers, server.location = [302], location
    with pytest.raises(
        UserError, match=f"leads from http to {location.split(':')[0]}, which is not followed"
    ):
        download(remote(server), tmp_path)
    server.answers, server.location = [302], "/elsewhere/a.zip"
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_secrets_in_an_address_are_not_printed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = remote(server).model_copy(update={"url": server.url + "?token=secret"})
    server.shutdown()
    server.server_close()
    with pytest.raises(
        UserError, match=r"^http://127\.0\.0\.1:\d+/files/a\.zip broke off 8 times"
    ) as caught:
        download(secret, tmp_path)
    assert "secret" not in str(caught.value) + capsys.readouterr().err


def test_a_full_disk_stops_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(DATA) - 1))
    with pytest.raises(UserError, match="free, the download needs"):
        download(remote(server), tmp_path)
    assert names(tmp_path) == set()


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    with (
        module._held(tmp_path / "a.zip.part"),
        pytest.raises(UserError, match="by another process"),
    ):
        download(remote(server), tmp_path)


def fetch(
    project: Path, url: str, digest: str, fault: str = ""
) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PIPELINE_FAULT": fault}
    source = f"data.ade20k.source={{url: '{url}', sha256: {digest}}}"
    command = [sys.executable, "-m", "pipeline.fetch", "ade20k", "--set", source]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_a_killed_fetch_continues(server: Server, tmp_path: Path) -> None:
    materialise("ade20k", Synthetic(train=6, val=4, image_size=32), tmp_path / "raw")
    files = [
        *below(tmp_path / "raw", "ADEChallengeData2016/"),
        ("ADEChallengeData2016/more", os.urandom(5 << 20)),
    ]
    make_zip(tmp_path / "a.zip", files)
    server.data = (tmp_path / "a.zip").read_bytes()
    project, digest = make_project(tmp_path / "project"), hashlib.sha256(server.data).hexdigest()
    url = server.url.replace("a.zip", "ADEChallengeData2016.zip")
    folder = project / "data" / "raw" / "ade20k"

    killed = fetch(project, url, digest, "download.block number=2")
    assert killed.returncode == -signal.SIGKILL
    assert (folder / "ADEChallengeData2016.zip.part").stat().st_size == 3 << 20
    assert not (folder / "ADEChallengeData2016.zip").exists() and not list(
        project.rglob("ade20k.json")
    )

    done = fetch(project, url, digest)
    assert done.returncode == 0, done.stderr
    assert server.asked == [None, f"bytes={3 << 20}-"]
    assert (folder / "ADEChallengeData2016.zip").read_bytes() == server.data
    found = json.loads((project / "adhoc/params/data/raw/ade20k.json").read_text())
    assert found["splits"]["train"]["samples"] == 6 and found["request"]["source"][0]["url"] == url

    assert fetch(project, url, digest).returncode == 0 and len(server.asked) == 2
