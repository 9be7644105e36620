"""Pickles as Python 2 wrote them: the batches of CIFAR-10's official archive."""

import pickle
import struct

import numpy as np

Value = dict[str, "Value"] | list["Value"] | bytes | int | np.ndarray


def pickled(value: Value) -> bytes:
    """Return what `cPickle.dumps(value, 2)` gave: texts are strings of bytes."""
    return pickle.PROTO + b"\x02" + _item(value) + pickle.STOP


def _item(value: Value) -> bytes:
    if isinstance(value, dict):
        pairs = b"".join(_item(name.encode()) + _item(entry) for name, entry in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS
    if isinstance(value, list):
        entries = b"".join(map(_item, value))
        return pickle.EMPTY_LIST + pickle.MARK + entries + pickle.APPENDS
    if isinstance(value, bytes):
        return pickle.BINSTRING + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return pickle.BININT + struct.pack("<i", value)
    return _array(value)


def _array(array: np.ndarray) -> bytes:
    """NumPy's own way: an empty array, then its state."""
    empty = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + _tuple(_item(0))
        + _item(b"b")
        + pickle.TUPLE3
        + pickle.REDUCE
    )
    kind = b"cnumpy\ndtype\n" + _tuple(_item(b"u1"), _item(0), _item(1)) + pickle.REDUCE
    kind_state = _tuple(_item(3), _item(b"|"), *[pickle.NONE] * 3, *[_item(-1)] * 2, _item(0))
    shape = _tuple(*map(_item, array.shape))
    state = _tuple(
        _item(1), shape, kind + kind_state + pickle.BUILD, pickle.NEWFALSE, _item(array.tobytes())
    )
    return empty + state + pickle.BUILD


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE
