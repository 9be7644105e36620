"""Shards by URL: what arrives is checked, shared by processes, kept within a limit, and never
half-written.
"""

import fcntl
import hashlib
import http.server
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers import PROJECT, Keys, write_shards

from pipeline.core import failpoints
from pipeline.core.errors import Unreadable, UserError
from pipeline.loading.micro_batches import (
    BlockPlan,
    EvalSamples,
    Ranks,
    TrainSamples,
    eval_loader,
    train_loader,
)
from pipeline.params import Cluster
from pipeline.shards.manifest import Manifest, ShardEntry
from pipeline.shards.reader import ShardReader
from pipeline.shards.remote import cache as cache_module
from pipeline.shards.remote.cache import CacheEntry, ShardCache
from pipeline.shards.verify import verify_remote
from pipeline.storage.remote import RemoteFolder
from pipeline.tasks.classify.recipe import Augment, Recipe

MB = 1 << 20


class Server:
    """A folder over HTTP on loopback, with the requests it got and answers that a test may
    spoil.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.spoil: Callable[[str, bytes], bytes] = lambda path, data: data
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(f"{self.command} {self.path}")
                try:
                    data = (folder / self.path.lstrip("/")).read_bytes()
                except OSError:
                    self.send_error(404)
                    return
                sent = server.spoil(self.path, data)
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(sent)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def gets(self, part: str = "") -> list[str]:
        return [line for line in self.asked if line.startswith("GET") and part in line]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eight training shards of five samples and two for validation, under source/imagenet."""
    return write_shards(tmp_path / "source" / "imagenet", train=[5] * 7 + [2], val=[4, 3])


@pytest.fixture
def server(source: Path) -> Iterator[Server]:
    made = Server(source.parent)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "PAUSE_S", 0.0)


def cached(url: str, source: Path, folder: Path, gb: float = 1.0) -> ShardCache:
    made = ShardCache.of(Cluster(shards=url, cache=str(folder), cache_gb=gb), source)
    assert made is not None
    return made


def file_of(folder: Path, size: int = 3 * MB, name: str = "x", seed: int = 0) -> CacheEntry:
    """Write a file of noise and return its entry."""
    data = bytes((seed + i * i // 7) & 255 for i in range(4099)) * (size // 4099 + 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data[:size])
    return CacheEntry(name, size, hashlib.sha256(data[:size]).hexdigest())


def read(cache: ShardCache, entry: CacheEntry) -> bytes:
    with os.fdopen(cache.open(entry), "rb") as file:
        return file.read()


def everything(reader: ShardReader) -> list[str]:
    return [
        reader.read(s, i)["__key__"]
        for s, size in enumerate(reader.shard_sizes)
        for i in range(size)
    ]


# What is read


def test_the_reader_reads_by_url_what_lies_there(
    server: Server, source: Path, tmp_path: Path
) -> None:
    cache = cached(server.url, source, tmp_path / "c")
    for split in ("train", "val"):
        local, remote = ShardReader(source, split), ShardReader("/nowhere", split, cache)
        for shard, size in enumerate(local.shard_sizes):
            assert [remote.read(shard, i) for i in range(size)] == [
                local.read(shard, i) for i in range(size)
            ]
    again = pickle.loads(pickle.dumps(remote))
    assert everything(again) == everything(local)
    assert (
        len(server.gets()) == len(set(server.gets())) == 8 + 2 + 2 + 1
    )  # shards, indices, manifest: once each


def test_files_are_named_by_content_so_that_versions_never_mix(tmp_path: Path) -> None:
    one = write_shards(tmp_path / "one" / "imagenet", [3, 3])
    two = write_shards(tmp_path / "two" / "imagenet", [3, 3], image_bytes=101)
    readers = [
        ShardReader("/nowhere", "train", cached(str(f.parent), f, tmp_path / "c"))
        for f in (one, two)
    ]
    assert [len(r.read(1, 2)["jpg"]) for r in readers] == [100, 101]
    kept = {path.name for path in (tmp_path / "c").iterdir() if path.is_file()}
    both = [Manifest.load(folder).splits["train"] for folder in (one, two)]
    assert {shard.sha256 for split in both for shard in split.shards[1:]} <= kept


def test_the_folder_is_the_users_by_default(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    cache = ShardCache.of(Cluster(shards="https://host/x"), source)
    assert cache is not None and cache.remote.shown() == "https://host/x/imagenet"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.home == Path("/somewhere/demystify-local-attention/shards")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache.home == Path("/home/me/.cache/demystify-local-attention/shards")
    assert ShardCache.of(Cluster(), source) is None


# What arrives wrong


def flipped(data: bytes) -> bytes:
    return data[:700] + bytes([data[700] ^ 4]) + data[701:]


@pytest.mark.parametrize("harm", [flipped, lambda data: data[:512], lambda data: b""])
def test_a_file_that_arrives_wrong_is_fetched_again(
    server: Server, source: Path, tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    reader = ShardReader("/nowhere", "train", cached(server.url, source, tmp_path / "c"))
    server.spoil = lambda path, data: harm(data) if len(server.gets("000003")) < 3 else data
    assert [reader.key(3, i) for i in range(5)] == [f"train{n:05d}" for n in range(15, 20)]
    assert len(server.gets("000003")) == 3


def test_a_file_that_stays_wrong_is_named_once_and_for_all(
    server: Server, source: Path, tmp_path: Path
) -> None:
    reader = ShardReader("/nowhere", "train", cached(server.url, source, tmp_path / "c"))
    server.spoil = lambda path, data: flipped(data)
    data, wanted = (
        (source / "train/000003.tar").read_bytes(),
        Manifest.load(source).splits["train"].shards[3].sha256,
    )
    with pytest.raises(Unreadable) as caught:
        reader.read(3, 0)
    said = str(caught.value)
    assert said.startswith("http://127.0.0.1:") and "/imagenet/train/000003.tar: " in said
    assert wanted in said and hashlib.sha256(flipped(data)).hexdigest() in said and "\n" not in said
    assert len(server.gets("000003")) == cache_module.ATTEMPTS
    assert not list((tmp_path / "c").glob("*.tmp")) and not (tmp_path / "c" / wanted).exists()


def test_a_longer_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    entry = file_of(tmp_path / "s", 3 * MB)
    cache = cache_of(tmp_path)
    with pytest.raises(Unreadable, match=r"more than 10 bytes came"):
        cache.open(CacheEntry("x", 10, entry.sha256))


def test_a_missing_file_and_a_folder_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (source / "train/000001.tar").unlink()
    reader = ShardReader("/nowhere", "train", cached(str(source.parent), source, tmp_path / "c"))
    with pytest.raises(
        Unreadable, match=r"train/000001\.tar: not found after 0 of \d+ bytes, in 3 attempts"
    ):
        reader.read(1, 0)
    (tmp_path / "file").touch()
    with pytest.raises(
        Unreadable, match=r"file.*: Not a directory; make room there, or name another folder"
    ):
        ShardReader("/nowhere", "train", cached(str(source.parent), source, tmp_path / "file"))


# What is kept


def cache_of(tmp_path: Path, limit: int = 100 * MB, since: int | None = None) -> ShardCache:
    return ShardCache(
        RemoteFolder(str(tmp_path / "s")),
        CacheEntry("m", 0, ""),
        str(tmp_path / "c"),
        limit,
        since or time.time_ns(),
    )


def test_a_bit_flipped_on_disk_is_found_after_the_next_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = file_of(tmp_path / "s")
    sound = read(cache_of(tmp_path), entry)
    path = tmp_path / "c" / entry.sha256
    stat, data = path.stat(), bytearray(sound)
    data[MB] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # rot keeps the date
    assert read(cache_of(tmp_path), entry) == sound
    assert "this copy of x is damaged; it is fetched again" in capsys.readouterr().err


def test_a_file_that_somebody_wrote_is_found_at_once(tmp_path: Path) -> None:
    entry, cache = file_of(tmp_path / "s"), cache_of(tmp_path)
    sound = read(cache, entry)
    (tmp_path / "c" / entry.sha256).write_bytes(sound[:-1] + b"?")
    assert read(cache, entry) == sound


def test_a_file_is_hashed_once_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, hashed = file_of(tmp_path / "s"), []
    read(cache_of(tmp_path), entry)
    original = hashlib.file_digest

    def watched(*args: Any) -> Any:
        hashed.append(args)
        return original(*args)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    again = cache_of(tmp_path)
    for _ in range(3):
        read(again, entry)
    assert len(hashed) == 1


def test_half_a_record_is_no_record(tmp_path: Path) -> None:
    entry, cache = file_of(tmp_path / "s"), cache_of(tmp_path)
    read(cache, entry)
    lock = tmp_path / "c" / "locks" / entry.sha256
    lock.write_bytes(lock.read_bytes()[:30])
    assert cache._sound(entry) is None and len(read(cache, entry)) == entry.bytes


def test_what_was_not_used_for_longest_goes_first_and_stays_readable_while_open(
    tmp_path: Path,
) -> None:
    entries = [file_of(tmp_path / "s", MB, name, seed) for seed, name in enumerate("abcd")]
    cache = cache_of(tmp_path, limit=3 * MB)

    def kept() -> str:
        return "".join(entry.name for entry in entries if (tmp_path / "c" / entry.sha256).exists())

    opened = cache.open(entries[0])
    read(cache, entries[1]), read(cache, entries[2])
    assert kept() == "abc"
    for age, entry in enumerate((entries[1], entries[0], entries[2])):  # b is the oldest
        os.utime(tmp_path / "c/locks" / entry.sha256, ns=(age, age))
    read(cache, entries[1])  # and is used again
    read(cache, entries[3])
    assert kept() == "bcd"
    assert len(os.pread(opened, MB, 0)) == MB
    os.close(opened)


def test_a_limit_below_one_file_still_works(tmp_path: Path) -> None:
    entries = [file_of(tmp_path / "s", MB, name, seed) for seed, name in enumerate("ab")]
    cache = cache_of(tmp_path, limit=1000)
    assert [len(read(cache, entry)) for entry in (*entries, *entries)] == [MB] * 4
    assert len([path for path in (tmp_path / "c").iterdir() if path.is_file()]) == 1


# Several processes, some of them killed

FETCH = """
import sys
from pipeline.shards.remote.cache import CacheEntry, ShardCache
from pipeline.storage.remote import RemoteFolder
url, folder, name, size, sha256 = sys.argv[1:]
cache = ShardCache(RemoteFolder(url), CacheEntry("m", 0, ""), folder, 100 << 20, since=1)
import os, hashlib
print(hashlib.file_digest(os.fdopen(cache.open(CacheEntry(name, int(size), sha256)), "rb"), "sha256").hexdigest())
"""


def fetch(url: str, folder: Path, entry: CacheEntry, fault: str = "") -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-c",
        FETCH,
        url,
        str(folder),
        entry.name,
        str(entry.bytes),
        entry.sha256,
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        **({failpoints.VARIABLE: fault} if fault else {}),
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_one_process_fetches_and_the_others_wait(tmp_path: Path) -> None:
    entry = file_of(tmp_path / "s")
    server = Server(tmp_path / "s")
    try:
        processes = [fetch(server.url, tmp_path / "c", entry) for _ in range(3)]
        assert [process.communicate(timeout=60)[0].strip() for process in processes] == [
            entry.sha256
        ] * 3
        assert len(server.gets("/x")) == 1
    finally:
        server.close()


def test_who_waited_does_not_hash_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, cache, hashed = file_of(tmp_path / "s"), cache_of(tmp_path), []
    original = RemoteFolder.blocks

    def late(*args: Any) -> Any:
        time.sleep(0.3)
        return original(*args)

    monkeypatch.setattr(RemoteFolder, "blocks", late)
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: hashed.append(args))
    with ThreadPoolExecutor(4) as pool:
        assert [len(data) for data in pool.map(lambda _: read(cache, entry), range(4))] == [
            entry.bytes
        ] * 4
    assert not hashed


@pytest.mark.parametrize("block", [0, 2])
def test_a_process_killed_in_mid_download_leaves_nothing_that_is_used(
    tmp_path: Path, block: int
) -> None:
    entry = file_of(tmp_path / "s")
    killed = fetch(str(tmp_path / "s"), tmp_path / "c", entry, fault=f"cache.block block={block}")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    beside = tmp_path / "c" / f"{entry.sha256}.tmp"
    assert beside.stat().st_size == entry.bytes and not (tmp_path / "c" / entry.sha256).exists()
    assert len(read(cache_of(tmp_path), entry)) == entry.bytes  # no lock is stale
    assert not beside.exists()


def test_a_start_removes_what_the_dead_left_and_nothing_of_the_living(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "c/locks").mkdir(parents=True)
    for name in ("dead", "living"):
        (tmp_path / "c" / f"{name}.tmp").write_bytes(b"half")
    with open(tmp_path / "c/locks/living", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ShardReader("/nowhere", "train", cached(str(source.parent), source, tmp_path / "c"))
    assert sorted(path.name for path in (tmp_path / "c").glob("*.tmp")) == ["living.tmp"]


def test_what_is_being_written_is_never_removed(tmp_path: Path) -> None:
    entries = [file_of(tmp_path / "s", MB, name, seed) for seed, name in enumerate("ab")]
    held = fetch(str(tmp_path / "s"), tmp_path / "c", entries[0], fault="cache.block do=wait")
    beside = tmp_path / "c" / f"{entries[0].sha256}.tmp"
    try:
        deadline = time.monotonic() + 60
        while not beside.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        cache = cache_of(tmp_path, limit=MB)
        read(cache, entries[1])
        bringing = threading.Thread(target=cache.bring, args=(entries[0],), daemon=True)
        bringing.start()
        bringing.join(20)
        assert not bringing.is_alive()  # it leaves the file to the process that is at it
        cache.sweep()
        assert beside.exists()
    finally:
        held.kill()
        held.communicate(timeout=60)
    cache.sweep()
    assert not beside.exists()


# Ahead of their use


def recipe_of(block: int | Literal["all"]) -> Recipe:
    return Recipe(
        image_size=32,
        eval_resize=32,
        micro_batch=1,
        micro_batches=1,
        shuffle_block=block,
        augment=Augment(rand_augment=None),
    )


def train_samples(
    source: Path, folder: Path, block: int | Literal["all"], gb: float = 1.0
) -> TrainSamples:
    reader = ShardReader("/nowhere", "train", cached(str(source.parent), source, folder, gb))
    return TrainSamples(reader, Keys(), recipe_of(block), seed=2)


def test_the_next_block_is_wished_for_while_one_is_in_use(source: Path, tmp_path: Path) -> None:
    samples = train_samples(source, tmp_path / "c", block=3)
    epochs = [[samples.order(epoch).shards_of(block) for block in range(3)] for epoch in range(2)]
    last = 2 * samples.steps_per_epoch
    wishes = BlockPlan(samples, last)
    said = [shards for step in range(last) if (shards := wishes((step, 0))) is not None]
    blocks = epochs[0] + epochs[1]
    assert said == [here + after for here, after in zip(blocks, [*blocks[1:], []], strict=True)]
    for step in range(last):  # what a step reads was in the wishes by then
        assert {shard for shard, _ in samples.places(step, 0)} <= set(
            BlockPlan(samples, last)((step, 0)) or []
        )


def test_no_more_is_wished_for_than_the_cache_holds(source: Path, tmp_path: Path) -> None:
    each = Manifest.load(source).splits["train"].shards[0].bytes
    samples = train_samples(source, tmp_path / "c", block=8, gb=3.5 * each / 1e9)
    assert BlockPlan(samples, 5)((0, 0)) == samples.order(0).shards_of(0)[:3]


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_by_url_give_what_local_ones_give(
    source: Path, tmp_path: Path, workers: int
) -> None:
    remote = train_samples(source, tmp_path / "c", block=3)
    local = TrainSamples(ShardReader(source, "train"), Keys(), recipe_of(3), seed=2)
    steps = local.steps_per_epoch + 4
    expected = [batch["keys"] for batch in train_loader(local, 0, steps, Ranks(), 0)]
    assert [batch["keys"] for batch in train_loader(remote, 0, steps, Ranks(), workers)] == expected
    val = EvalSamples(ShardReader("/nowhere", "val", remote.reader.cache), Keys(), 2)
    loader = eval_loader(val, Ranks(), workers)
    for _ in range(2):  # its workers, and the thread that fetches ahead, come a second time
        assert [key for batch in loader for key in batch["keys"]] == [
            f"val{n:05d}" for n in range(7)
        ]


def test_shards_arrive_before_they_are_asked_for(source: Path, tmp_path: Path) -> None:
    samples = train_samples(source, tmp_path / "c", block=2)
    loader = iter(train_loader(samples, 0, samples.steps_per_epoch, Ranks(), 0))
    next(loader)
    wanted = samples.order(0).shards_of(0) + samples.order(0).shards_of(1)
    names = [Manifest.load(source).splits["train"].shards[shard].sha256 for shard in wanted]
    deadline = time.monotonic() + 20
    while (
        not all((tmp_path / "c" / name).exists() for name in names) and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    tars = [
        p
        for p in (tmp_path / "c").iterdir()
        if p.name in {s.sha256 for s in manifest_shards(source)}
    ]
    assert sorted(path.name for path in tars) == sorted(
        names
    )  # the next block too, and none after it


def manifest_shards(source: Path) -> list[ShardEntry]:
    return list(Manifest.load(source).splits["train"].shards)


# Before training starts


def test_advice_names_what_costs_more_than_it_has_to(source: Path, tmp_path: Path) -> None:
    shards = Manifest.load(source).splits["train"].shards
    wide, narrow = cached("/x", source, tmp_path, gb=1), cached("/x", source, tmp_path, gb=1e-5)
    assert wide.advice(shards, 4) == []
    assert [line.split(":")[0] for line in wide.advice(shards, "all")] == ["shuffle_block"]
    assert len(narrow.advice(shards, "all")) == 2
    assert "cluster.cache_gb is 1e-05, a shuffle block has" in narrow.advice(shards, 4)[0]


def test_what_lies_at_the_url_is_compared_with_the_local_manifest(
    server: Server, source: Path, tmp_path: Path
) -> None:
    import shutil

    local = Path(shutil.copytree(source, tmp_path / "local" / "imagenet"))
    remote = RemoteFolder(f"{server.url}/imagenet")
    assert verify_remote(remote, local) == [] and not server.gets(".tar")
    (source / "train/000002.tar").unlink()
    os.truncate(source / "train/000004.tar", 512)
    path = source / "train/000005.tar"
    path.write_bytes(flipped(path.read_bytes()))
    text = (source / "manifest.json").read_text()
    (source / "manifest.json").write_text(text.replace("noise", "voice"))
    size = (local / "train/000004.tar").stat().st_size
    cheap = [
        "manifest.json: content differs (SHA-256)",
        "train/000002.tar: not found",
        f"train/000004.tar: 512 bytes, should be {size}",
    ]
    assert verify_remote(remote, local) == cheap
    changed = "train/000005.tar: content differs (SHA-256)"
    assert verify_remote(remote, local, content=True) == [*cheap, changed]


@pytest.mark.parametrize("url", ["ftp://host/x", "data/shards", "simplecache::http://host/x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="give a URL that starts with http://"):
        Cluster(shards=url)


def test_the_manifest_at_the_url_must_be_the_local_one(source: Path, tmp_path: Path) -> None:
    cache = cached(str(source.parent), source, tmp_path / "c")
    (source / "manifest.json").write_text((source / "manifest.json").read_text() + " ")
    with pytest.raises(UserError, match=r"imagenet/manifest\.json: more than \d+ bytes came"):
        ShardReader(source, "train", cache)
