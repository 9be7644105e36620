"""Weights are read without running code from the file; what cannot be used is one sentence."""

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from helpers import in_the_authors_names, run_stage
from safetensors.torch import save_file

from pipeline.core.errors import UserError
from pipeline.params import Variant
from pipeline.runs.weights import read_weights

VARIANT = Variant(mixer="dwnet", size="micro")


class Payload:
    """Leaves a file behind where somebody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_a_pickled_object_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": {}, "config": Payload(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"asks to call .*; nothing of it was run"):
        read_weights(tmp_path / "w.pth", VARIANT, 64)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04cut"])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError):
        read_weights(tmp_path / name, VARIANT, 64)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth"):
        read_weights(tmp_path / "none.pth", VARIANT, 64)


def test_an_authors_checkpoint_is_evaluated_as_the_published_weights_are(
    small_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command takes a file as the authors' trainer writes it, with a configuration of a class
    nobody has.
    """
    from models import create_model

    torch.manual_seed(0)
    model = create_model("dwnet_micro", num_classes=10)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    module = types.ModuleType("no_such_config")
    module.Node = type("Node", (dict,), {"__module__": "no_such_config"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "no_such_config", module)
    weights = {f"module.{key}": value for key, value in in_the_authors_names(model).items()}
    torch.save(
        {"model": weights, "epoch": 299, "config": module.Node(A=module.Node())}, tmp_path / "w.pth"
    )
    monkeypatch.delitem(sys.modules, "no_such_config")

    def metrics(file: str) -> dict[str, float]:
        capsys.readouterr()
        run_stage(
            small_shards.parents[2],
            "pipeline.evaluate",
            "classify",
            "dwnet_micro",
            "--weights",
            str(tmp_path / file),
        )
        return dict(json.loads(capsys.readouterr().out))

    found = metrics("w.pth")
    assert found == metrics("w.safetensors")
    assert 0 < found["loss"] < 10


def test_weights_of_another_variant_are_refused_with_a_guess(tmp_path: Path) -> None:
    from models import create_model

    torch.save({"model": in_the_authors_names(create_model("dwnet_tiny"))}, tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=r"cannot use .*w\.pth: .* they are those of dwnet_tiny"
    ) as error:
        read_weights(tmp_path / "w.pth", VARIANT, 64)
    assert "\n" not in str(error.value)
