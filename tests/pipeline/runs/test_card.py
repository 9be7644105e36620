"""The model card says what the run was, and what stands in it works."""

import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image
from trained import TRAINED

from pipeline.runs.card import card
from pipeline.runs.results.files import read_json
from pipeline.runs.results.training import Metrics

ALL = [(task, variant) for task, variants in TRAINED.items() for variant in variants]


@pytest.mark.parametrize(("task", "variant"), ALL)
def test_the_example_of_a_card_runs_and_its_numbers_are_those_measured(
    trained: Path,
    task: str,
    variant: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = trained / "results" / task / variant
    text = (folder / "README.md").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert isinstance(yaml.safe_load(text.split("---\n")[1]), dict)
    assert f"{metrics['parameters']:,}" in text and "no use on photographs" in text
    last = f"| 0, last | {metrics['final'][metrics['main_metric']]:.1f}"
    assert last in text, text

    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    Image.effect_noise((90, 60), 90).save(trained / "photo.jpg")
    monkeypatch.chdir(trained)
    exec(compile(example, "card", "exec"), {})
    printed = capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    assert task == "detect" or any(name in printed for name in config["label_names"])


def test_a_task_that_says_nothing_of_its_use_has_a_card_without_it(trained: Path) -> None:
    folder = trained / "results" / "classify" / "dwnet"
    description = json.loads((folder / "config.json").read_text())
    metrics = read_json(folder / "metrics.json", Metrics)
    whole = card(description, metrics, "results/classify/dwnet")
    assert whole == (folder / "README.md").read_text()
    for name in ("network", "heads", "transform"):
        del description[name]
    bare = card(description, metrics, "results/classify/dwnet")
    assert "How to use it" in whole and "How to use it" not in bare
    assert whole.split("## How it was made")[1] == bare.split("## How it was made")[1]
