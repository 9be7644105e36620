"""This code gives what the golden record says: to the bit where it was made, closely on another
processor.
"""

import json
import math
from typing import Any

import pytest

from tests.golden import record

CLOSE = {"rel_tol": 1e-3, "abs_tol": 1e-3}
"""How closely another processor or another build of a library must come to losses, rates and
lengths of weights.
"""
EXACT = ("parameters", "order")
"""What is the same on every processor."""
COARSE = ("top1", "top5", "box_ap", "mask_ap", "miou", "accuracy")
"""Names in a metric that a single image at a boundary can move; elsewhere only their being there is
compared.
"""


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(json.loads(record.RECORD.read_text()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(json.loads(json.dumps(record.make(tmp_path_factory.mktemp("golden")))))


def test_what_is_the_same_everywhere(golden: dict[str, Any], made: dict[str, Any]) -> None:
    assert {part: made[part] for part in EXACT} == {part: golden[part] for part in EXACT}
    assert made["runs"].keys() == golden["runs"].keys()


def test_runs_and_manifests(golden: dict[str, Any], made: dict[str, Any]) -> None:
    if made["made_by"] == golden["made_by"]:
        assert made["manifests"] == golden["manifests"]
        assert made["runs"] == golden["runs"]
    else:
        assert different(golden, made) == []


def test_a_loss_that_is_off_is_seen(golden: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(golden))
    changed["runs"]["classify swin"]["rows"][1]["train_loss"] *= 1.01
    del changed["runs"]["segment swin"]["rows"][0]["miou"]
    assert different(golden, changed) == [
        "classify swin, evaluation 1: train_loss",
        "segment swin, evaluation 0: miou",
    ]


def different(golden: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """Return what is not close, by its place."""
    names = []
    for run, expected in golden["runs"].items():
        rows = made["runs"][run]["rows"]
        if len(rows) != len(expected["rows"]):
            names.append(f"{run}: {len(rows)} evaluations")
        for number, (right, row) in enumerate(zip(expected["rows"], rows, strict=False)):
            names += [f"{run}, evaluation {number}: {name}" for name in right.keys() ^ row.keys()]
            close = right.keys() & row.keys() - {name for name in right if name.startswith(COARSE)}
            far = (name for name in sorted(close) if not _close(right[name], row[name]))
            names += [f"{run}, evaluation {number}: {name}" for name in far]
        if not _close(expected["length"], made["runs"][run]["length"]):
            names.append(f"{run}: length of the weights")
    return names


def _close(expected: Any, value: Any) -> bool:
    if isinstance(expected, float):
        return math.isclose(expected, value, **CLOSE)
    return bool(expected == value)
