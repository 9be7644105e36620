"""The newest valid checkpoint wins; damage is named and passed over."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.engine import checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, {"step": step, "w": torch.full((100,), float(step))})
    return tmp_path


def test_the_newest_is_loaded_and_old_ones_are_dropped(folder: Path) -> None:
    state, damaged = checkpoint.load_newest(folder, CPU)
    assert state is not None and state["step"] == 15 and not damaged
    assert sorted(path.name for path in folder.iterdir()) == ["000000010", "000000015"]


@pytest.mark.parametrize("harm", ["cut", "flip", "no seal", "no state", "empty seal"])
def test_a_damaged_one_falls_back_and_is_named(folder: Path, harm: str) -> None:
    newest = folder / "000000015"
    data = bytearray((newest / "state.pt").read_bytes())
    if harm == "cut":
        (newest / "state.pt").write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        data[data.index(np.full(9, 15, np.float32).tobytes()) + 1] ^= 1  # in a weight, where nothing else would notice
        (newest / "state.pt").write_bytes(data)
    elif harm == "no seal":
        (newest / "seal.json").unlink()
    elif harm == "no state":
        (newest / "state.pt").unlink()
    else:
        (newest / "seal.json").write_text("")
    state, damaged = checkpoint.load_newest(folder, CPU)
    assert state is not None and state["step"] == 10
    assert len(damaged) == 1 and "000000015" in damaged[0]


def test_a_save_cut_short_leaves_no_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", fails)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(folder, 20, {"step": 20})
    assert sorted(path.name for path in folder.iterdir()) == ["000000010", "000000015"]
