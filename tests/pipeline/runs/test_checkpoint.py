"""The newest valid checkpoint wins; damage is named and passed over."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.runs import checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, {"step": step, "w": torch.full((100,), float(step))})
    return tmp_path


def test_the_newest_is_loaded_and_old_ones_are_dropped(folder: Path) -> None:
    _, state, damaged = checkpoint.load_newest(folder, CPU)
    assert state is not None and state["step"] == 15 and not damaged
    assert sorted(path.name for path in folder.iterdir()) == ["000000010", "000000015"]


def harm(path: Path, draw: random.Random) -> None:
    """Damage a checkpoint in one way of many: cut, flip, empty, overwrite or remove one of its two
    files.
    """
    file = path / draw.choice(["state.pt", "state.pt", "seal.json"])
    data = bytearray(file.read_bytes())
    kind = draw.choice(["cut", "flip", "empty", "garble", "remove", "other seal"])
    if kind == "flip" and file.name == "state.pt":
        at = data.index(
            np.full(9, 15, np.float32).tobytes()
        )  # in a weight, where nothing else would notice
        data[at + draw.randrange(36)] ^= 1 << draw.randrange(8)
    elif kind in ("cut", "flip"):
        data = data[: draw.randrange(1, len(data) - 1)]
    elif kind == "garble":
        data = bytearray(draw.randbytes(len(data)))
    elif kind == "other seal":
        file, data = (
            path / "seal.json",
            bytearray((path.parent / "000000010/seal.json").read_bytes()),
        )
    else:
        data = bytearray()
    file.write_bytes(data)
    if kind == "remove":
        file.unlink()


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_one_falls_back_and_is_named(folder: Path, seed: int) -> None:
    harm(folder / "000000015", random.Random(seed))
    path, state, damaged = checkpoint.load_newest(folder, CPU)
    assert (
        path is not None and path.name == "000000010" and state is not None and state["step"] == 10
    )
    assert len(damaged) == 1 and "000000015 is damaged" in damaged[0]


def test_what_a_killed_save_left_is_cleared_away(folder: Path) -> None:
    (folder / ".000000020.1.tmp").mkdir()
    checkpoint.clear_leftovers(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["000000010", "000000015"]


def test_a_save_cut_short_leaves_no_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", fails)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(folder, 20, {"step": 20})
    assert sorted(path.name for path in folder.iterdir()) == ["000000010", "000000015"]


def test_best_weights_stay_that_a_checkpoint_may_go_back_to(tmp_path: Path) -> None:
    folder, weights = (
        tmp_path / "checkpoints",
        {step: tmp_path / f"best-{step}" for step in (0, 1, 3)},
    )
    for path in weights.values():
        path.write_bytes(b"")
    for step, best in ((2, 1), (4, 3)):
        checkpoint.save(folder, step, {"step": step, "best": {"step": best}})
    seal = folder / "000000002" / checkpoint.SEAL
    whole = seal.read_bytes()
    seal.write_bytes(b"{")
    checkpoint.clear_superseded(folder, weights)
    assert all(path.exists() for path in weights.values())
    seal.write_bytes(whole)
    checkpoint.clear_superseded(folder, weights)
    assert {step for step, path in weights.items() if path.exists()} == {1, 3}
