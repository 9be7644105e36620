"""Copies of a run's folder in a store: whole or passed over, whatever is killed, cut or written at
once.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from stores import BUCKET, Store

from pipeline.core import failpoints
from pipeline.storage.copies import FINISHED, Damaged, RunStore
from pipeline.storage.remote import Missing, ObjectFolder, Unreachable

URL = f"s3://{BUCKET}/runs/abc"


def kept() -> RunStore:
    return RunStore(ObjectFolder(URL))


def checkpoint(folder: Path, step: int, best: int = 4, attempt: bytes = b"") -> dict[str, Path]:
    """Write the files of a checkpoint; its best weights are those of an earlier step."""
    content = {
        f"checkpoints/{step:09d}/state.pt": b"state %d" % step * 1000 + attempt,
        f"checkpoints/{step:09d}/seal.json": b'{"step": %d}' % step,
        f"best-{best:09d}.safetensors": b"best %d" % best * 1000,
    }
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return {name: folder / name for name in content}


def test_a_copy_comes_back_as_it_went_up(store: Store, tmp_path: Path) -> None:
    files = checkpoint(tmp_path / "a", 8)
    name = kept().put(8, files)
    kept().get(kept().seal(name), tmp_path / "b")
    for relative, path in files.items():
        assert (tmp_path / "b" / relative).read_bytes() == path.read_bytes()
    assert not [path for path in (tmp_path / "b").rglob(".*") if path.name != ".arriving"]


def test_what_is_there_goes_up_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    upload = ObjectFolder.upload

    def watched(folder: ObjectFolder, *args: Any) -> Any:
        sent.append(args[1])
        return upload(folder, *args)

    monkeypatch.setattr(ObjectFolder, "upload", watched)
    kept().put(8, checkpoint(tmp_path, 8))
    kept().put(12, checkpoint(tmp_path, 12))
    assert len([name for name in sent if name.endswith("best-000000004.safetensors")]) == 1
    kept().put(12, checkpoint(tmp_path, 12))
    assert len(sent) == 5


def test_the_last_are_kept_with_all_that_they_name(store: Store, tmp_path: Path) -> None:
    for step, best in ((4, 4), (8, 8), (12, 8), (16, 8)):
        kept().put(step, checkpoint(tmp_path, step, best))
        kept().prune(2)
    assert [name[:9] for name in kept().seals()] == ["000000016", "000000012"]
    objects = store.names("runs/abc/objects")
    assert len(objects) == 5 and len([name for name in objects if "best" in name]) == 1
    for name in kept().seals():
        kept().get(kept().seal(name), tmp_path / name)


def test_what_a_killed_upload_left_is_no_copy_and_is_swept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept().put(8, checkpoint(tmp_path, 8))
    monkeypatch.setenv(failpoints.VARIABLE, "store.unsealed seal=000000012 do=fail")
    with pytest.raises(OSError, match=r"store\.unsealed"):
        kept().put(12, checkpoint(tmp_path, 12))
    assert [name[:9] for name in kept().seals()] == ["000000008"]
    assert len(store.names("runs/abc/objects")) == 5
    kept().prune(2)
    assert len(store.names("runs/abc/objects")) == 3


@pytest.mark.parametrize("how", ["cut", "flip", "gone"])
@pytest.mark.parametrize("which", ["state.pt", "seal.json", "best"])
def test_a_harmed_object_is_never_given_out(
    store: Store, tmp_path: Path, how: str, which: str
) -> None:
    name = kept().put(8, checkpoint(tmp_path / "a", 8))
    (harmed,) = [key for key in store.names("runs/abc/objects") if which in key]
    store.harm(harmed, how)
    with pytest.raises(Damaged, match=which):
        kept().get(kept().seal(name), tmp_path / "b")
    assert not list((tmp_path / "b").glob("checkpoints/*")), "a folder appears whole or not at all"


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_harmed_seal_is_none(store: Store, tmp_path: Path, how: str) -> None:
    name = kept().put(8, checkpoint(tmp_path, 8))
    store.harm(f"runs/abc/checkpoints/{name}", how)
    with pytest.raises((Damaged, Missing)):
        kept().seal(name)


@pytest.mark.parametrize("name", ["../x", "/x", "checkpoints/../x", "a/b", ".x", "checkpoints/1/"])
def test_a_seal_names_nothing_outside_the_runs_folder(store: Store, name: str) -> None:
    seal = b'{"files": {"%s": {"sha256": "%s", "bytes": 1}}}' % (name.encode(), b"0" * 64)
    store.write("runs/abc/checkpoints/000000001-x.json", seal)
    with pytest.raises(Damaged):
        kept().seal("000000001-x.json")


def test_a_cut_object_goes_up_again(store: Store, tmp_path: Path) -> None:
    kept().put(8, checkpoint(tmp_path, 8))
    (best,) = [key for key in store.names("runs/abc/objects") if "best" in key]
    store.harm(best, "cut")
    name = kept().put(12, checkpoint(tmp_path, 12))
    kept().get(kept().seal(name), tmp_path / "b")


def test_two_attempts_at_a_step_lie_side_by_side(store: Store, tmp_path: Path) -> None:
    first = kept().put(8, checkpoint(tmp_path / "a", 8))
    second = kept().put(8, checkpoint(tmp_path / "b", 8, attempt=b"again"))
    assert first != second
    kept().get(kept().seal(first), tmp_path / "c")
    assert not (tmp_path / "c/checkpoints/000000008/state.pt").read_bytes().endswith(b"again")


def finished(folder: Path, words: bytes) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FINISHED).write_bytes(words)
    (folder / "last.safetensors").write_bytes(b"weights" * 1000)
    return {name: folder / name for name in (FINISHED, "last.safetensors")}


def test_a_finished_run_drops_its_checkpoints_and_the_first_stands(
    store: Store, tmp_path: Path
) -> None:
    kept().put(8, checkpoint(tmp_path, 8))
    kept().finish(finished(tmp_path / "a", b"first"))
    kept().finish(finished(tmp_path / "b", b"second"))
    assert kept().seals() == [] and len(store.names("runs/abc")) == 3
    kept().get(kept().seal(FINISHED), tmp_path / "c")
    assert (tmp_path / "c" / FINISHED).read_bytes() == b"first"


@pytest.mark.parametrize("how", ["cut", "flip", "gone"])
def test_a_harmed_finished_run_is_replaced(store: Store, tmp_path: Path, how: str) -> None:
    kept().finish(finished(tmp_path / "a", b"first"))
    (weights,) = [key for key in store.names("runs/abc/objects") if "last" in key]
    store.harm(weights, how)
    kept().finish(finished(tmp_path / "b", b"second"))
    kept().get(kept().seal(FINISHED), tmp_path / "c")
    assert (tmp_path / "c" / FINISHED).read_bytes() == b"second"


def test_a_bucket_that_is_gone_is_not_an_empty_one(store: Store, tmp_path: Path) -> None:
    assert kept().seals() == []
    store.remove_bucket()
    with pytest.raises(Unreachable, match=r"^there is no such bucket$"):
        kept().seals()
    with pytest.raises(Unreachable, match=r"^there is no such bucket$"):
        kept().put(8, checkpoint(tmp_path, 8))
    with pytest.raises(Unreachable, match=r"^there is no such bucket$"):
        kept().seal(FINISHED)


def test_a_large_file_goes_up_in_parts(store: Store, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(os.urandom(60 << 20))
    name = kept().put(8, {"checkpoints/000000008/state.pt": tmp_path / "state.pt"})
    kept().get(kept().seal(name), tmp_path / "b")
    assert (tmp_path / "b/checkpoints/000000008/state.pt").stat().st_size == 60 << 20
