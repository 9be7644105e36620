"""Files of torch.save are read without running anything in them; one that asks for a call is refused in a sentence."""

import io
import os
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict
from contextlib import suppress

import pytest
import torch
from helpers import in_the_authors_names

from models import create_model
from models.checkpoints import CodeInFile, read_checkpoint
from models.official import convert

FORMS = {"zip": True, "plain": False}


@pytest.fixture(params=FORMS)
def save(request, tmp_path):
    """Saves something in either form of torch.save and gives the path."""

    def write(content):
        path = tmp_path / f"{request.param}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=FORMS[request.param])
        return path

    return write


@pytest.fixture
def config(monkeypatch):
    """An object like the authors' configuration: a dict whose class nobody has when the file is read."""
    package, module = types.ModuleType("no_such_yacs"), types.ModuleType("no_such_yacs.config")

    class CfgNode(dict):
        pass

    CfgNode.__module__, CfgNode.__qualname__ = "no_such_yacs.config", "CfgNode"
    module.CfgNode, package.config = CfgNode, module
    monkeypatch.setitem(sys.modules, "no_such_yacs", package)
    monkeypatch.setitem(sys.modules, "no_such_yacs.config", module)
    node = CfgNode(MODEL=CfgNode(NAME="dwnet"), sizes=[1, 2], seen={3})
    node.__dict__["__immutable__"] = False
    return node


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_weights_beside_a_pickled_configuration_are_read_exactly(save, config):
    weights = OrderedDict(
        half=torch.randn(3, 2).half(),
        brain=torch.randn(2).bfloat16(),
        steps=torch.tensor(7),
        view=torch.arange(12.0).view(3, 4).T[1:],
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    path = save({"model": weights, "config": config, "epoch": 299, "optimizer": {"state": {0: {"m": torch.ones(1)}}}})
    for name in ("no_such_yacs", "no_such_yacs.config"):
        del sys.modules[name]
    read = read_checkpoint(path)
    assert read["epoch"] == 299 and read["optimizer"]["state"][0]["m"].item() == 1
    assert not any(name.startswith("no_such_yacs") for name in sys.modules)
    assert list(read["model"]) == list(weights)
    for key, value in weights.items():
        assert read["model"][key].dtype == value.dtype and torch.equal(read["model"][key], value)


def test_a_class_that_could_be_imported_is_not(save, tmp_path, monkeypatch):
    (tmp_path / "runs_on_import.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config(dict): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import runs_on_import

    path = save({"model": {"w": torch.ones(1)}, "config": runs_on_import.Config(a=1)})
    del sys.modules["runs_on_import"]
    (tmp_path / "ran").unlink()
    assert read_checkpoint(path)["model"]["w"].item() == 1
    assert not (tmp_path / "ran").exists()


def hostile(mark):
    """Calls that would leave a file behind, and where they may hide."""
    touch = Call(os.system, f"touch {mark}")
    opened = Call(eval, f"open({str(mark)!r}, 'w')")
    yield "system", touch
    yield "eval", opened
    yield "exec", Call(exec, f"open({str(mark)!r}, 'w')")
    yield "import", Call(__import__, "os")
    yield "getattr", Call(getattr, "x", "upper")
    yield "in a tensor's place", {"model": {"w": touch}}
    yield "in a configuration", {"model": {"w": torch.ones(1)}, "config": {"deep": [{"er": (opened,)}]}}
    yield "as a key", {touch: 1}
    yield "as the argument of a rebuild", {"model": Call(OrderedDict, [("w", opened)])}
    yield "as the argument of a call that is let pass", {"config": Call(set, [opened])}
    yield "as the state of an object", {"config": Call(torch._utils._rebuild_parameter, torch.ones(1), False, opened)}


CASES = [name for name, _ in hostile("mark")]


@pytest.mark.parametrize("case", CASES)
def test_hostile_files_run_nothing_and_get_one_sentence(save, tmp_path, case):
    mark = tmp_path / "mark"
    path = save(dict(hostile(mark))[case])
    with pytest.raises(CodeInFile, match=r"asks to call .*; nothing of it was run") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not mark.exists()
    # The payload is one: plain unpickling runs it.
    if case in ("system", "eval", "as a key", "in a configuration"):
        with suppress(TypeError):
            torch.load(path, weights_only=False)
        assert mark.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"(S'touch MARK'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch MARK'\no.",
        b"cos\nsystem\n(S'touch MARK'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93(\x8c\x0atouch MARK\x85tR.",
        b"\x80\x02cbuiltins\neval\n(X\x05\x00\x00\x001 + 1tR.",
    ],
)
def test_every_opcode_that_calls_is_guarded(tmp_path, monkeypatch, opcodes):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", opcodes)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    (tmp_path / "w.pth").write_bytes(buffer.getvalue())
    with pytest.raises(CodeInFile):
        read_checkpoint(tmp_path / "w.pth")
    assert not (tmp_path / "MARK").exists()


def test_what_a_file_is_given_can_be_changed_only_for_itself(tmp_path):
    """A pickle may set attributes of a function that it names; the next file gets another function."""
    original = torch._utils._rebuild_tensor_v2
    state = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x01\x00\x00\x00xK\x01stb."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", state)
        archive.writestr("archive/version", "3\n")
    (tmp_path / "w.pth").write_bytes(buffer.getvalue())
    changed = read_checkpoint(tmp_path / "w.pth")
    assert changed.x == 1 and not hasattr(original, "x")


def test_programs_are_not_weights(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "w.pt")
    with pytest.raises(CodeInFile, match="TorchScript"):
        read_checkpoint(tmp_path / "w.pt")
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        archive.add(__file__, "storages")
    with pytest.raises(CodeInFile, match="tar layout"):
        read_checkpoint(tmp_path / "old.pth")


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_a_cut_file_is_one_sentence(save, kept):
    path = save({"model": {"w": torch.ones(1000)}})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match="no whole checkpoint") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [pickle.dumps({"model": 1}), b"hello", struct.pack("<q", 5) * 9])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match="no whole checkpoint"):
        read_checkpoint(tmp_path / "w.pth")


def test_an_authors_file_gives_the_network_that_wrote_it(save, config):
    model = create_model("dwnet_micro", num_classes=7).eval()
    path = save({"model": {f"module.{k}": v for k, v in in_the_authors_names(model).items()}, "config": config})
    again = create_model("dwnet_micro", num_classes=7).eval()
    again.load_state_dict(convert(read_checkpoint(path), "dwnet_micro"))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(x), model(x))
