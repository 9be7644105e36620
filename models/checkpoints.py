"""Reading a `torch.save` file of somebody else without running anything that is in it.

The authors' files hold, beside the weights, a pickled configuration whose class (`yacs.config.CfgNode`) need not be
installed here. `torch.load(weights_only=True)` refuses such files, and without it unpickling calls whatever the file
names. The unpickler of this module resolves a short list of names that rebuild tensors; every other name becomes a
placeholder, which is never imported. An object of an unknown class thus turns into an empty shell, and a *call* of
anything unknown, which is how a pickle runs code, ends the reading.
"""

from __future__ import annotations

import pickle
import tarfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

_REBUILDS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
"""Names that may be called. Storages are resolved by `torch.load` itself, to a dtype and nothing more."""

_SHELLS = frozenset(
    {
        ("copyreg", "_reconstructor"),
        ("copy_reg", "_reconstructor"),
        ("_codecs", "encode"),
        ("collections", "defaultdict"),
        ("pathlib", "PosixPath"),
        ("datetime", "datetime"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *(
            (module, name)
            for module in ("builtins", "__builtin__")
            for name in ("set", "frozenset", "bytes", "bytearray", "complex", "slice", "range")
        ),
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    }
)
"""Calls that ordinary files make beside the weights, for numbers and old-style objects: answered with a shell."""


class CodeInFile(ValueError):
    """The file asks for a call that reading weights does not need."""


class _ShellType(type):
    """Type of the placeholders: calling one is what a hostile file wants, so it is refused."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Raises `CodeInFile`."""
        raise CodeInFile(
            f"it asks to call {cls.__name__}, which no weights need; nothing of it was run, "
            "but do not use this file elsewhere"
        )


class _Shell(metaclass=_ShellType):
    """Takes and forgets whatever a pickle puts into an object."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Shell:
        """An empty object, whatever the arguments."""
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Forgets the state."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forgets an item."""

    def append(self, item: Any) -> None:
        """Forgets an item."""

    def extend(self, items: Any) -> None:
        """Forgets items."""

    def add(self, item: Any) -> None:
        """Forgets an item."""


def _shell(*_: Any) -> _Shell:
    return object.__new__(_Shell)


class _Unpickler(pickle.Unpickler):
    """Finds the few names above and a placeholder for every other; imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for `module.name`."""
        if (rebuild := _REBUILDS.get((module, name))) is not None:
            # A function of its own for each file: a pickle may write attributes onto what it was given.
            return rebuild if isinstance(rebuild, type) else _called(rebuild)
        if (module, name) in _SHELLS:
            return _called(_shell)
        return _ShellType(f"{module}.{name}", (_Shell,), {})


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: function(*args)


def _load(file: Any, **_: Any) -> Any:
    return _Unpickler(file).load()


_PICKLE = SimpleNamespace(__name__="models.checkpoints", Unpickler=_Unpickler, load=_load)
"""What `torch.load` takes for the module pickle."""


def read_checkpoint(path: Path) -> Any:
    """Reads a file of `torch.save`, in its zip form or the older plain one, to the CPU.

    Returns:
        What was saved; objects of classes other than tensors, numbers, texts and plain containers are empty shells.

    Raises:
        CodeInFile: the file asks for a call that reading weights does not need; nothing was called.
        ValueError: it is no checkpoint, or not a whole one.
        OSError: it cannot be opened.
    """
    with open(path, "rb"):
        pass
    _refuse_programs(path)
    try:
        # Without `weights_only`, since that refuses objects of unknown classes; the unpickler above is the guard.
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_PICKLE)
    except (CodeInFile, OSError):
        raise
    except Exception as error:  # a broken pickle fails in any way it likes
        raise ValueError(f"it is no whole checkpoint of torch.save ({type(error).__name__})") from None


def _refuse_programs(path: Path) -> None:
    """Keeps away what `torch.load` would hand to other readers.

    Raises:
        CodeInFile: a TorchScript program, or the tar layout of 2016.
    """
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        try:
            records = torch._C.PyTorchFileReader(str(path)).get_all_records()
        except RuntimeError as error:
            raise ValueError(f"it is no whole checkpoint of torch.save ({type(error).__name__})") from None
        if "constants.pkl" in records:
            raise CodeInFile("it is a TorchScript program, not weights; save its state_dict and use that file")
    elif tarfile.is_tarfile(path):
        raise CodeInFile("it has the tar layout of the first torch versions; load and save it again with a newer one")
