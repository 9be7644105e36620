"""`python -m pipeline.export`: a word stands for results, a mistake is one sentence."""

import sys
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.export import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a variant or --weights FILE"),
        (["nothing"], "no results/TASK/nothing is there"),
        (["twice"], "name results/classify/twice or results/segment/twice"),
        (["results/classify/twice"], "is not there"),
        (["--weights", "other.safetensors"], "is no whole safetensors file"),
    ],
)
def test_what_cannot_be_exported_is_named(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for task in ("classify", "segment"):
        Path("results", task, "twice").mkdir(parents=True)
    Path("other.safetensors").write_text("nothing")
    monkeypatch.setattr(sys, "argv", ["export", *words, "--format", "onnx"])
    with pytest.raises(UserError, match=said):
        main()
