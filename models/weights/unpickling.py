"""A reader of pickles in which nothing can be called, imported or changed.

A pickle is a program. The reader of this module knows the instructions that make plain values, and
no other way to an
object: every name in the file becomes a `Name`, which is a text. A few names that rebuild
    containers and tensors are answered by functions of this module; ordinary classes beside the
    weights become empty shells; a *call* of anything else, which is how a pickle runs code, ends
    the reading. Sizes are bounded by the file's: it allocates nothing that a file only claims, and
    keys are values whose hash is quickly told.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

LIMIT = 4 * 2**20
"""Bytes of a pickle: some 20,000 tensors, and less than 500 MB of the smallest objects."""

_CALLS_WITHOUT_USE = frozenset(
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
        *(
            (f"numpy.{core}.multiarray", name)
            for core in ("core", "_core")
            for name in ("scalar", "_reconstruct")
        ),
    }
)
"""Calls that ordinary files make beside the weights, for numbers and old-style objects: answered
with a shell.
"""


class CodeInFile(ValueError):
    """The file asks for a call that reading weights does not need."""


class Shell:
    """Stands for an object of a class that is not read."""

    __slots__ = ()


class Dict(dict[Any, Any]):
    """Stands for an `OrderedDict` or a `Counter`; unlike those it has no attributes that a file
    could set.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GlobalName:
    """Stands for whatever a file names; `build` answers a call of it, where one is answered."""

    module: str
    name: str
    build: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        """Answer a call.

        Raises:
            CodeInFile: reading weights does not need it.
        """
        if self.build is None:
            called = f"{self.module}.{self.name}"[:100].encode("unicode_escape").decode()
            raise CodeInFile(
                f"it asks to call {called}, which no weights need; nothing of it was run, "
                "but do not use this file elsewhere"
            )
        return self.build(*args)


def unpickle(
    file: BytesIO,
    tensors: dict[tuple[str, str], Callable[..., Any]],
    storage: Callable[[tuple[Any, ...]], Any],
) -> Any:
    """Read one pickle and leave the file behind it.

    Args:
        file: the pickle's bytes, at most `LIMIT` of them.
        tensors: what answers a call of a name, as in `("torch._utils", "_rebuild_tensor_v2")`.
        storage: what gives a storage for the description that `torch.save` writes of it.

    Raises:
        CodeInFile: it asks for a call that reading weights does not need.
        Exception: of any kind where it is broken.
    """
    return _Reader(file, tensors, storage).load()


class _Reader(pickle._Unpickler):
    """The instructions that make plain values; in Python, so that there is a list of them to choose
    from.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self,
        file: BytesIO,
        tensors: dict[tuple[str, str], Callable[..., Any]],
        storage: Callable[..., Any],
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self._builds = {
            ("collections", "OrderedDict"): _dict,
            ("collections", "Counter"): _dict,
            **tensors,
        }
        self._storage = storage

    def find_class(self, module: str, name: str) -> GlobalName:
        """Give what stands for `module.name`; nothing is imported."""
        place = (module, name)
        return GlobalName(
            module, name, _shell if place in _CALLS_WITHOUT_USE else self._builds.get(place)
        )

    def persistent_load(self, pid: Any) -> Any:
        """Give the storage that the file describes."""
        if not isinstance(pid, tuple) or pid[0] not in ("storage", b"storage"):
            raise ValueError("it refers to something that is no storage")
        return self._storage(pid[1:])

    def load_reduce(self) -> None:
        args = self.stack.pop()
        function = self.stack.pop()
        self.append(_name(function)(*_checked(args, tuple)))

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.append(_name(klass)(*args) if args else Shell())

    def load_newobj(self) -> None:
        del self.stack[-2:]
        self.append(Shell())

    def load_newobj_ex(self) -> None:
        del self.stack[-3:]
        self.append(Shell())

    def load_build(self) -> None:
        self.stack.pop()
        _checked(self.stack[-1], (Shell, Dict))  # their attributes are of no use to weights

    def load_empty_set(self) -> None:
        self.append(Shell())

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Shell())

    def load_additems(self) -> None:
        self.pop_mark()
        _checked(self.stack[-1], Shell)

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def load_setitem(self) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        self._set(items)

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        if isinstance(target := _checked(self.stack[-1], (list, Shell)), list):
            target.extend(items)

    def _set(self, items: list[Any]) -> None:
        if isinstance(target := _checked(self.stack[-1], (dict, Shell)), dict):
            target.update(_pairs(zip(items[::2], items[1::2], strict=True)))


def _instructions() -> dict[int, Callable[[Any], None]]:
    """Point each instruction to this module's version of it, and leave out those of other readers'
    registers.
    """
    left_out = {
        pickle.EXT1,
        pickle.EXT2,
        pickle.EXT4,
        pickle.BYTEARRAY8,
        pickle.NEXT_BUFFER,
        pickle.READONLY_BUFFER,
    }
    inherited: dict[int, Callable[..., None]] = pickle._Unpickler.dispatch
    return {
        code: getattr(_Reader, function.__name__)
        for code, function in inherited.items()
        if code not in {instruction[0] for instruction in left_out}
    }


_Reader.dispatch = _instructions()


def _shell(*_: Any) -> Shell:
    return Shell()


def _dict(items: Any = (), *_: Any) -> Dict:
    pairs = items.items() if isinstance(items, dict) else map(tuple, _checked(items, (list, tuple)))
    return Dict(_pairs(pairs))


def _name(value: Any) -> GlobalName:
    name: GlobalName = _checked(value, GlobalName)
    return name


def _checked(value: Any, kinds: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kinds):
        raise ValueError(f"it treats a {type(value).__name__} as something else")
    return value


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a dict; keys in keys in keys would take for ever to hash, or more of the stack than
    there is.
    """
    result = {}
    for key, value in pairs:
        for item in key if isinstance(key, tuple) else (key,):
            _checked(item, (str, bytes, int, float, bool, type(None), Shell, GlobalName))
        result[key] = value

    return result
