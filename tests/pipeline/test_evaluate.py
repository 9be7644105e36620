"""Weights are read without running code from the file; what cannot be used is one sentence."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.evaluate import read_weights
from pipeline.params import Variant

VARIANT = Variant(mixer="dwnet", size="micro")


class Payload:
    """Leaves a file behind where somebody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return Path.touch, (self.mark,)


def test_a_pickled_object_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": {}, "config": Payload(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        read_weights(tmp_path / "w.pth", VARIANT)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04cut"])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError):
        read_weights(tmp_path / name, VARIANT)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth"):
        read_weights(tmp_path / "none.pth", VARIANT)
