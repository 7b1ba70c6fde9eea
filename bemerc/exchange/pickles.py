"""Pickles from elsewhere, opened so that nothing in them runs: arrays and plain types, and not one thing more.

A pickle is a program: ``pickle.load`` calls whatever the file names. MMSA's data come as pickles all the same. Here each
name that a pickle asks for is looked up in a short list of stand-ins of our own, which build arrays from bytes and
check their arguments; any other name is refused in a sentence before it is imported.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.errors import CacheError


class _Stranger(pickle.UnpicklingError):
    """A name that is not on the list."""


def _empty_array(kind: Any, shape: Any, dtype: Any) -> NDArray[Any]:
    """numpy's _reconstruct, which numpy only ever calls for an empty array that is filled afterwards."""
    if kind is not np.ndarray or shape not in ((0,), (), []):
        raise _Stranger(f"an array of type {kind!r} and shape {shape!r}")
    return np.ndarray((0,), np.dtype("i1"))


def _scalar(dtype: Any, data: Any) -> Any:
    """A numpy number from its bytes."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, bytes):
        raise _Stranger(f"a numpy scalar of {dtype!r}")
    return np.frombuffer(data, dtype, 1)[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """An array as protocol 5 writes it."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject or order not in ("C", "F"):
        raise _Stranger(f"an array of {dtype!r}")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _latin1(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Stranger(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    **{
        (home, name): kind
        for home in ("builtins", "__builtin__")
        for name, kind in (("set", set), ("frozenset", frozenset))
    },
}
# What damaged or hostile bytes raise inside the unpickler and numpy's own filling of an array.
_FAULTS = (
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    RecursionError,
)


class _Careful(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Stranger(f"'{module}.{name}'")
        return _ADMITTED[module, name]


def load(path: Path) -> Any:
    """The content of a pickle that holds dicts, lists, text, numbers and arrays of them.

    CacheError, a sentence, for anything else: it is refused before it is imported, and nothing of it runs.
    """
    try:
        with path.open("rb") as file:
            return _Careful(file, encoding="latin1").load()
    except OSError as error:
        raise CacheError(f"{path}: this file cannot be read ({error.strerror}).") from None
    except _Stranger as error:
        raise CacheError(
            f"{path}: this pickle asks for {error}, and only arrays and plain types are admitted, since a pickle can run "
            "anything. It is refused; have it saved again with plain arrays in it."
        ) from None
    except _FAULTS as error:
        raise CacheError(f"{path}: this is not a whole pickle ({type(error).__name__}: {error}).") from None
