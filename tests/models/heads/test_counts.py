"""Parameters and operations of the detectors and segmenters of the paper (sections 3.2 and 6)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.flops import count_flops, count_parameters
from models.heads import create_detector, create_segmenter

ROOT = Path(__file__).resolve().parents[3]
# Millions of parameters of the tiny and the base network.
DETECTORS = {
    "swin": (85.63, 144.98),
    "dwnet": (81.51, 131.56),
    "dynamic_dwnet": (108.47, 218.81),
    "i_dynamic_dwnet": (83.59, 137.46),
}
SEGMENTERS = {
    "swin": (59.94, 121.28),
    "dwnet": (55.83, 107.86),
    "dynamic_dwnet": (82.79, 195.11),
    "i_dynamic_dwnet": (57.90, 113.77),
}
PARAMETERS = [
    (create, f"{mixer}_{size}", millions)
    for create, table in ((create_detector, DETECTORS), (create_segmenter, SEGMENTERS))
    for mixer, row in table.items()
    for size, millions in zip(("tiny", "base"), row, strict=True)
]
DETECTION, SEGMENTATION = (800, 1280), (512, 2048)
# Giga operations; the two counts of `i_dynamic_dwnet` are those with the dynamic operator, where both were computed.
OPERATIONS = [
    (create_detector, "dwnet_tiny", DETECTION, 730.2, 0.05),
    (create_detector, "dynamic_dwnet_tiny", DETECTION, 730.3, 0.05),
    (create_detector, "dwnet_base", DETECTION, 925.2, 0.05),
    (create_segmenter, "dwnet_tiny", SEGMENTATION, 928.4, 0.05),
    (create_segmenter, "dynamic_dwnet_tiny", SEGMENTATION, 928.5, 0.05),
    (create_segmenter, "dwnet_base", SEGMENTATION, 1129.6, 0.05),
    (create_segmenter, "dynamic_dwnet_base", SEGMENTATION, 1129.7, 0.05),
    (create_detector, "i_dynamic_dwnet_tiny", DETECTION, 744, 1),
    (create_detector, "i_dynamic_dwnet_base", DETECTION, 959, 2),
    (create_segmenter, "i_dynamic_dwnet_tiny", SEGMENTATION, 942, 2),
    (create_segmenter, "i_dynamic_dwnet_base", SEGMENTATION, 1162, 4),
    (create_detector, "swin_tiny", DETECTION, 747, 1),
    (create_segmenter, "swin_base", SEGMENTATION, 1192, 1),
]


@pytest.mark.parametrize(("create", "name", "millions"), PARAMETERS)
def test_parameters_are_the_published_ones(create, name, millions):
    with torch.device("meta"):
        assert count_parameters(create(name)) / 1e6 == pytest.approx(millions, abs=0.0051)


@pytest.mark.parametrize(("create", "name", "size", "giga", "off"), OPERATIONS)
def test_operations_are_the_published_ones(create, name, size, giga, off):
    with torch.device("meta"):
        model = create(name)
    assert count_flops(model, size, "downstream")["total"] / 1e9 == pytest.approx(giga, abs=off)


def test_the_heads_are_counted_by_hand(detector):
    """A box head and a mask head of 16 channels: one 3x3 convolution each, and what follows."""
    with torch.device("meta"):
        few, many = (detector(proposals={"kept_test": n}, cascade={"detections": n}) for n in (10, 11))
    few, many = (count_flops(model, 64, "downstream") for model in (few, many))
    box = {"convolution": 49 * 9 * 16 * 16, "linear": 49 * 16 * 32 + 32 * 4 + 32 * 12}
    mask = {"convolution": 196 * (9 * 16 * 16 + 16) + 196 * 4 * 16 * 16 + 784 * 16 + 784 * (16 * 3 + 3)}
    for part in ("convolution", "linear"):
        assert many[part] - few[part] == 3 * (box[part] + mask.get(part, 0))


def test_baselines_are_counted_in_multiply_adds(detector):
    with torch.device("meta"):
        model = detector("timm:resnet18")
    counted = count_flops(model, 64)
    assert counted["rule"] == "macs"
    assert counted["total"] > count_flops(model.backbone, 64)["total"] > 0


def test_the_table_has_a_row_for_each_head():
    command = [sys.executable, "-m", "models", "--downstream", "--only", "dwnet", "--json"]
    rows = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert len(rows) == 8
    row = next(row for row in rows if (row["name"], row["heads"]) == ("dwnet_tiny", "UPerNet"))
    assert (row["parameters"], row["image_size"]) == (55_826_252, [512, 2048])
    assert row["flops"] / 1e9 == pytest.approx(928.4, abs=0.05)
