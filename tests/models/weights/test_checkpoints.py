"""Files of torch.save are read without running anything in them; one that asks for a call is
refused in a sentence.
"""

import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict
from contextlib import suppress
from importlib import import_module

import pytest
import torch
from helpers import PROJECT, in_the_authors_names

from models import create_model
from models.weights.checkpoints import CodeInFile, read_checkpoint
from models.weights.official import convert
from models.weights.unpickling import Dict, Shell

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
    """An object like the authors' configuration: a dict whose class nobody has when the file is
    read.
    """
    package, module = types.ModuleType("no_such_yacs"), types.ModuleType("no_such_yacs.config")

    class CfgNode(dict):
        pass

    CfgNode.__module__, CfgNode.__qualname__ = "no_such_yacs.config", "CfgNode"
    monkeypatch.setattr(module, "CfgNode", CfgNode, raising=False)
    monkeypatch.setattr(package, "config", module, raising=False)
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
    path = save(
        {
            "model": weights,
            "config": config,
            "epoch": 299,
            "optimizer": {"state": {0: {"m": torch.ones(1)}}},
        }
    )
    for name in ("no_such_yacs", "no_such_yacs.config"):
        del sys.modules[name]
    read = read_checkpoint(path)
    assert read["epoch"] == 299 and read["optimizer"]["state"][0]["m"].item() == 1
    assert not any(name.startswith("no_such_yacs") for name in sys.modules)
    assert list(read["model"]) == list(weights)
    for key, value in weights.items():
        assert read["model"][key].dtype == value.dtype and torch.equal(read["model"][key], value)


def test_a_class_that_could_be_imported_is_not(save, tmp_path, monkeypatch):
    (tmp_path / "runs_on_import.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config(dict): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    runs_on_import = import_module("runs_on_import")
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
    yield (
        "in a configuration",
        {"model": {"w": torch.ones(1)}, "config": {"deep": [{"er": (opened,)}]}},
    )
    yield "as a key", {touch: 1}
    yield "as the argument of a rebuild", {"model": Call(OrderedDict, [("w", opened)])}
    yield "as the argument of a call that is let pass", {"config": Call(set, [opened])}
    yield (
        "as the state of an object",
        {"config": Call(torch._utils._rebuild_parameter, torch.ones(1), False, opened)},
    )


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


def zipped(path, pickled, storages=(), compression=zipfile.ZIP_STORED):
    """Writes the zip form of torch.save by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for key, content in enumerate(storages):
            archive.writestr(f"archive/data/{key}", content, compression)
    return path


def plain(path, *opcodes):
    """Writes the form before torch 1.6 by hand."""
    head = (
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {}},
    )
    path.write_bytes(
        b"".join([*(pickle.dumps(value, 2) for value in head), *opcodes, pickle.dumps([], 2)])
    )
    return path


NAMES = {
    "collections.Counter": Counter,
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": defaultdict,
    "torch.Size": torch.Size,
    "torch.FloatStorage": torch.FloatStorage,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch.nn.parameter.Parameter": torch.nn.Parameter,
    "builtins.dict": dict,
    "models.weights.unpickling.Dict": Dict,
    "models.weights.unpickling.Shell": Shell,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", [zipped, plain])
def test_a_file_changes_nothing_that_it_names(tmp_path, name, write):
    """Neither a type nor a function gets an attribute, and nor do the objects that are made of
    them.
    """
    before = dict(vars(NAMES[name]))
    module, _, attribute = name.rpartition(".")
    named = b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"
    state = b"}S'update'\nS'changed'\ns"
    for thing in (named, named + b")R", named + b")\x81"):
        for build in (b"N" + state + b"\x86b.", state + b"b.", b"S'update'\nS'changed'\ns."):
            with suppress(ValueError):
                read = read_checkpoint(write(tmp_path / "w.pth", thing + build))
                assert isinstance(read, (Dict, Shell)) and not hasattr(read, "__dict__")
            assert dict(vars(NAMES[name])) == before
    assert callable(getattr(NAMES[name], "update", print))


BOMBS = r"""
import pickle, resource, struct, sys, zipfile
from pathlib import Path
from models.weights.checkpoints import read_checkpoint
sys.path[:0] = ["tests", "tests/models/weights"]
from test_checkpoints import plain, zipped
folder = Path(sys.argv[1])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
storage = lambda count: b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + count + b"tQ"
tensor = lambda count, size: (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage(count) + b"K\0" + size + b"\x85K\x01\x85\x89}tR."
)
nested = b"N\x85" + b"\x85" * 500_000
doubled = b"N" + b"2\x86" * 100_000
pickles = {
    "tuples": b"(" * 100_000 + b"t" * 100_000 + b".", "lists": b"]" * 500_000 + b"a" * 499_999 + b".",
    "many": b"(" + b"}" * 4_000_000 + b"l.", "sets": b"(" + b"\x8f" * 500_000 + b"l.", "too many": b"N" * 5_000_000,
    "marks": b"(" * 500_000 + b".",
    "a key of tuples": b"}" + nested + b"Ns.", "a key of twos": b"}" + doubled + b"Ns.",
    "a set of twos": b"\x8f(" + doubled + b"\x90.", "a frozen set of twos": b"(" + doubled + b"\x91.",
    "an ordered dict of twos": b"ccollections\nOrderedDict\n]" + doubled + b"N\x86a\x85R.",
    "bytes": b"\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "long": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "memo": b"Nr\xff\xff\xff\x7f.", "bytearray": b"\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.", "digits": b"I" + b"9" * 3_000_000 + b"\n.",
    "storage": tensor(b"\x8a\x07" + b"\xff" * 6 + b"\0", b"K\x04"), "beyond": tensor(b"K\x04", b"J\xff\xff\xff\x7f"),
    "negative": tensor(b"J\xff\xff\xff\xff", b"K\x04"),
    "extension": b"\x82\x01.", "module": b"(X\x06\0\0\0moduleNNNtQ.",
}
for name, content in pickles.items():
    for write in (zipped, plain) if len(content) < 10**6 else (zipped,):
        try:
            read_checkpoint(write(folder / "w.pth", content))
        except ValueError:
            pass
        print(name, write.__name__, flush=True)
try:
    described = tensor(b"J\0\0\0\x01", b"J\0\0\0\x01")
    read_checkpoint(zipped(folder / "w.pth", described, [bytes(2**26)], zipfile.ZIP_DEFLATED))
    print("read")
except ValueError:
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


def test_bombs_end_in_a_sentence(tmp_path):
    """Depth, claimed sizes, compressed storages, keys that take for ever to hash: no crash, no
    memory, no hang.
    """
    command = [sys.executable, "-c", BOMBS, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-3000:]
    assert "read" not in done.stdout.splitlines()
    assert int(done.stdout.splitlines()[-1]) < 2**20, "kilobytes"


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


@pytest.mark.parametrize(
    "content", [pickle.dumps({"model": 1}), b"hello", struct.pack("<q", 5) * 9]
)
def test_what_is_no_checkpoint_is_one_sentence(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match="no whole checkpoint"):
        read_checkpoint(tmp_path / "w.pth")


def test_an_authors_file_gives_the_network_that_wrote_it(save, config):
    model = create_model("dwnet_micro", num_classes=7).eval()
    path = save(
        {
            "model": {f"module.{k}": v for k, v in in_the_authors_names(model).items()},
            "config": config,
        }
    )
    again = create_model("dwnet_micro", num_classes=7).eval()
    again.load_state_dict(convert(read_checkpoint(path), "dwnet_micro"))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(x), model(x))
