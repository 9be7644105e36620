"""Every mixer in every format is the network, and an export leaves nothing behind in its process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import PROJECT

from models import create_model, mixers
from models.heads import create_detector, create_segmenter
from models.published.export import FORMATS, ExportError, export, read_metadata

FREE = {"dwnet", "dynamic_dwnet", "global_attention", "i_dynamic_dwnet", "sliding_attention"}
"""Mixers that take any map."""
STEPS = """
import hashlib, torch
from models import create_model, mixers

def network(name):
    torch.manual_seed(0)
    depths = (2, 1, 1, 1) if mixers.load(name).switches.neighbourhood == "window" else (1, 1, 1, 1)
    return create_model(f"{name}_micro", 3, depths=depths, image_size=64)

def steps():
    digests = {}
    for name in mixers.names():
        model = network(name).train()
        loss = model(torch.randn(2, 3, 64, 64)).square().mean()
        loss.backward()
        digest = hashlib.sha256(loss.detach().numpy().tobytes())
        for parameter in model.parameters():
            digest.update(parameter.grad.contiguous().numpy().tobytes())
        digests[name] = digest.hexdigest()
    return digests
"""
FRESH = STEPS + "\nimport json; print(json.dumps(steps()))"
EXPORTING = (
    STEPS
    + """
import json, sys
from models.published.export import export
fresh = json.loads(sys.argv[1])
for name, format in json.loads(sys.argv[2]):
    print(name, format, file=sys.stderr, flush=True)
    content, record = export(network(name).eval(), format, (64, 64), {"name": name})
    differ = [other for other, digest in steps().items() if digest != fresh[other]]
    print(json.dumps([name, format, record, differ]), flush=True)
"""
)
COMPILING = (
    STEPS
    + """
import json, sys
fresh = json.loads(sys.argv[1])
for name, backend in json.loads(sys.argv[2]):
    print(name, backend, file=sys.stderr, flush=True)
    torch._dynamo.reset()
    model = network(name).train()
    compiled = torch.compile(model, backend=backend)
    loss = compiled(torch.randn(2, 3, 64, 64)).square().mean()
    loss.backward()
    with torch.no_grad():
        compiled.eval()(torch.randn(1, 3, 64, 64))
    differ = [other for other, digest in steps().items() if digest != fresh[other]]
    same = network(name).train()(torch.randn(2, 3, 64, 64)).square().mean()
    print(json.dumps([name, backend, float((loss - same).abs() / same), differ]), flush=True)
"""
)


def run(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


QUICK = [["swin", "torch_export"], ["swin", "torchscript"], ["i_dynamic_dwnet", "torchscript"]]
ALL = [[name, format] for name in mixers.names() for format in FORMATS]


@pytest.fixture(scope="module")
def fresh() -> str:
    """Digests of a step of every mixer's network, in a process that does nothing else."""
    (digests,) = run(FRESH)
    return digests


@pytest.mark.parametrize("wanted", [QUICK, pytest.param(ALL, marks=pytest.mark.faults)])
def test_an_export_is_the_network_and_leaves_nothing_behind(
    fresh: str, wanted: list[list[str]]
) -> None:
    exported = [json.loads(line) for line in run(EXPORTING, fresh, json.dumps(wanted))]
    assert [[name, format] for name, format, _, _ in exported] == wanted
    for name, format, record, differ in exported:
        assert record["difference"] <= 1e-4, (name, format)
        assert ("height" in record["dynamic"]) == (name in FREE), (name, format)
        assert differ == [], (name, format)


COMPILED = [["swin", "aot_eager"]]
ALL_COMPILED = [[name, "inductor"] for name in mixers.names()]


@pytest.mark.parametrize("wanted", [COMPILED, pytest.param(ALL_COMPILED, marks=pytest.mark.faults)])
def test_compiling_leaves_nothing_behind(fresh: str, wanted: list[list[str]]) -> None:
    compiled = [json.loads(line) for line in run(COMPILING, fresh, json.dumps(wanted))]
    assert [[name, backend] for name, backend, _, _ in compiled] == wanted
    for name, _, difference, differ in compiled:
        assert difference < 1e-4 and differ == [], name


def test_a_segmenter_is_exported_and_the_file_says_what_it_is(tmp_path: Path) -> None:
    model = create_segmenter("dwnet_micro", 4, depths=(1, 1, 1, 1)).eval()
    for format, kind in FORMATS.items():
        content, record = export(model, format, (64, 64), {"variant": "mine"})
        file = tmp_path / f"model{kind.suffix}"
        file.write_bytes(content)
        assert read_metadata(file) == {"config": {"variant": "mine"}, "export": record}
        images = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(kind.read(content)(images), model(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_a_detector_is_refused_because_its_boxes_depend_on_the_picture(format: str) -> None:
    model = create_detector("dwnet_micro", 3, depths=(1, 1, 1, 1)).eval()
    with pytest.raises(ExportError, match="depends on the picture"):
        export(model, format, (64, 64), {})


def test_the_reason_is_true() -> None:
    model = create_detector("dwnet_micro", 3, depths=(1, 1, 1, 1)).eval()
    with pytest.raises(Exception, match=r"(?i)data-dependent|unbacked|guard"):
        torch.export.export(model, (torch.randn(1, 3, 64, 64), [(64, 64)]))


@pytest.mark.parametrize("format", ["torch_export", "torchscript"])
def test_a_file_for_one_size_takes_no_other(format: str) -> None:
    model = create_model("swin_micro", 3, depths=(2, 1, 1, 1)).eval()
    content, record = export(model, format, (64, 64), {})
    assert record["dynamic"] == ["batch"]
    with pytest.raises(Exception, match="size"):
        FORMATS[format].read(content)(torch.randn(1, 3, 96, 96))
