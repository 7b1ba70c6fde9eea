"""Safe reading of other people's pickles: arrays and plain values, and nothing else.

A pickle is a program: ``pickle.load`` calls whatever the file names, and even with a short list of names the file fills
numpy's own objects, down to a dtype that lies about holding pointers. Here nothing of the file is called. Python's
``pickletools`` splits it into its instructions; those that build lists, dicts, texts and numbers are carried out, and
numpy's three ways to write an array become an array only after its kind, shape and length in bytes were checked.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import CacheError
from bemerc.core.terminal import printable

# Values beside arrays: a corpus of a million utterances has as many ids and texts. An empty list is 56 bytes of memory
# for one of the file.
MOST_VALUES = 4_000_000
_MOST_DIMENSIONS = 4
_KIND = re.compile(r"(b1|[iu][1248]|f[248]|[SU][1-9]\d{0,6}|O8?)")
_RECONSTRUCT = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
_SCALAR = {f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
_ORDERED, _SETS = (
    {"collections.OrderedDict"},
    {f"{b}.{s}" for b in ("builtins", "__builtin__") for s in ("set", "frozenset")},
)
_NO_BYTES = {"builtins.bytes", "__builtin__.bytes"}
_ADMITTED = _RECONSTRUCT | _SCALAR | _FROM_BUFFER | _ORDERED | _SETS | _NO_BYTES
_ADMITTED |= {"numpy.ndarray", "numpy.dtype", "_codecs.encode"}
# What damaged bytes raise inside pickletools and where an instruction finds too little on the stack.
_FAULTS = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError, RecursionError)


class _ForbiddenError(Exception):
    """The pickle asks for something that is not allowed."""


@dataclass(frozen=True)
class _Name:
    """Something that the file names; it is compared, never called."""

    name: str


@dataclass
class _Dtype:
    """A dtype as the file describes it: a plain kind such as f4, and its byte order."""

    kind: str
    order: str = "<"

    def fill(self, state: Any) -> None:
        """The second half of the description, (version, order, subarray, names, fields, size, alignment, flags,
        ...)."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise _ForbiddenError("an array of a kind that is not plain")
        if any(part is not None for part in state[2:5]):
            raise _ForbiddenError("an array with fields")
        self.order = ">" if state[1] == ">" else "<"

    def plain(self) -> np.dtype[Any]:
        return np.dtype(self.kind if self.kind[0] == "S" else self.order + self.kind)


@dataclass
class _Array:
    """An array whose content follows later in the file; the memo keys that refer to it."""

    memo_keys: list[int] = field(default_factory=list)


def load(path: Path) -> Any:
    """The content of a pickle that holds dicts, lists, text, numbers and arrays of them; sets come as lists.

    CacheError, a sentence, for anything else: nothing that the file names is imported or called.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler().run(_BoundedFile(file, path.stat().st_size))
    except OSError as error:
        raise CacheError(f"this file cannot be read ({error.strerror}).", path=path) from None
    except _ForbiddenError as error:
        raise CacheError(
            f"this pickle asks for {printable(error)}, and only arrays and plain types are admitted, since a pickle can run "
            "anything. It is refused; have it saved again with plain arrays in it.",
            path=path,
        ) from None
    except _FAULTS as error:
        reason = printable(f"{type(error).__name__}: {error}")
        raise CacheError(f"this is not a whole pickle ({reason}).", path=path) from None


class _BoundedFile:
    """A file that is never read beyond its end, whatever its length fields say."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._size = file, size

    def read(self, count: int) -> bytes:
        return bytes(self._file.read(max(0, min(count, self._size - self._file.tell()))))

    def readline(self) -> bytes:
        return bytes(self._file.readline(1 << 20))

    def tell(self) -> int:
        return int(self._file.tell())


class _Unpickler:
    """Carries out a pickle's instructions on a stack, as the format's description says, without calling anything."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: Any) -> Any:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > 4 * MOST_VALUES:
                raise _ForbiddenError(f"more than {MOST_VALUES} values")
            if opcode.name == "STOP":
                return self.stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("it has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(_VALUES[name](argument))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise _ForbiddenError(f"the instruction {name}")

    def since_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        at = self.marks.pop()
        taken = self.stack[at:]
        del self.stack[at:]
        return taken

    def last(self, count: int) -> list[Any]:
        taken = self.stack[len(self.stack) - count :]
        if len(taken) < count:
            raise IndexError("too little is there")
        del self.stack[len(self.stack) - count :]
        return taken

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        if isinstance(self.stack[-1], _Array):
            self.stack[-1].memo_keys.append(key)

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise _ForbiddenError("a list of another type")
        target.extend(values)

    def put(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise _ForbiddenError("a dict of another type")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # A tuple of tuples of the same tuples is hashed without end.
            if not isinstance(key, str | bytes | int | None):
                raise _ForbiddenError("a dict whose keys are no texts")
            target[key] = value

    def mapping(self, argument: Any) -> None:
        pairs = self.since_mark()
        self.stack.append({})
        self.put(pairs)

    def reduce(self, argument: Any) -> None:
        called, arguments = self.last(2)
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise _ForbiddenError("a call of something that is not named")
        self.stack.append(_called(called.name, arguments))

    def build(self, argument: Any) -> None:
        target, state = self.last(2)
        if isinstance(target, _Dtype):
            target.fill(state)
            self.stack.append(target)
        elif isinstance(target, _Array):
            built = _filled(state)
            for key in target.memo_keys:
                self.memo[key] = built
            self.stack.append(built)
        else:
            raise _ForbiddenError("an object with a state of its own")

    def name(self, name: str) -> None:
        if name not in _ADMITTED:
            raise _ForbiddenError(f"'{name}'")
        self.stack.append(_Name(name))


def _called(name: str, arguments: tuple[Any, ...]) -> Any:
    """What a call would give, built by hand."""
    if name in _RECONSTRUCT:
        return _Array()
    if name == "numpy.dtype":
        return _dtype_of(arguments)
    if name in _SCALAR and len(arguments) == 2:
        return _array(_bytes(arguments[1]), arguments[0], (), False).item()
    if name in _FROM_BUFFER and len(arguments) == 4:
        data, kind, shape, order = arguments
        return _array(_bytes(data), kind, shape, order == "F")
    if name == "_codecs.encode" and len(arguments) == 2 and arguments[1] == "latin1":
        return _bytes(arguments[0])
    if name in _ORDERED and not arguments:
        return {}
    if name in _NO_BYTES and not arguments:  # how protocols 0 to 2 write b""
        return b""
    if name in _SETS and len(arguments) == 1 and type(arguments[0]) is list:
        return arguments[0]
    raise _ForbiddenError(f"'{name}' of something else than it is for")


def _dtype_of(arguments: tuple[Any, ...]) -> _Dtype:
    spec = arguments[0] if arguments else None
    if not isinstance(spec, str) or _KIND.fullmatch(spec) is None:
        raise _ForbiddenError(
            f"an array of the kind {spec!r}" if isinstance(spec, str) else "an array of a kind that is not plain"
        )
    return _Dtype(spec)


def _bytes(data: Any) -> bytes:
    """Bytes as protocols 0 to 5 write them; a text is what Python 2 called a str."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise _ForbiddenError("an array whose content is no bytes")
    return bytes(data)


def _filled(state: Any) -> NDArray[Any]:
    """numpy's (version, shape, kind, in Fortran's order, content)."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
        raise _ForbiddenError("an array that is described in another way")
    _, shape, kind, fortran, content = state
    if kind.kind[0] != "O":
        return _array(_bytes(content), kind, shape, bool(fortran))
    if type(content) is not list or len(content) != _size(shape):
        raise _ForbiddenError("an array of objects that do not fill it")
    flat = np.empty(len(content), object)
    for index, value in enumerate(content):  # at once, arrays of one shape would become one array
        flat[index] = _plain(value)
    return flat.reshape(shape, order="F" if fortran else "C")


def _plain(value: Any) -> Any:
    """An object in an array: a text, a number, None, or an array that is there."""
    if not isinstance(value, str | bytes | int | float | np.ndarray | None):
        raise _ForbiddenError("an array of objects that are neither texts nor numbers")
    return value


def _size(shape: Any) -> int:
    if not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise _ForbiddenError("an array of a shape that no table has")
    if not all(isinstance(n, int) and 0 <= n < 1 << 32 for n in shape):
        raise _ForbiddenError("an array of a shape that is not made of numbers")
    return math.prod(shape)


def _array(data: bytes, kind: Any, shape: Any, fortran: bool) -> NDArray[Any]:
    """An array of its own bytes, of exactly as many as its shape says."""
    if not isinstance(kind, _Dtype) or kind.kind[0] == "O":
        raise _ForbiddenError("an array of objects")
    dtype = kind.plain()
    assert dtype.fields is None
    assert not dtype.hasobject
    if _size(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for an array of {dtype} of shape {shape}")
    if dtype.kind == "b":
        array = np.frombuffer(data, np.uint8) != 0
    elif dtype.kind == "U":
        points = np.frombuffer(data, dtype.byteorder + "u4" if dtype.byteorder in "<>" else "u4")
        if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
            raise ValueError("a text of what are no characters")
        array = np.frombuffer(data, dtype)
    else:
        array = np.frombuffer(data, dtype)
    return np.asarray(array).reshape(shape, order="F" if fortran else "C")


def _whole(number: int) -> int:
    if not -(1 << 64) < number < 1 << 64:
        raise _ForbiddenError("a number of more than 64 bits")
    return number


def _text(text: Any) -> Any:
    if isinstance(text, str):
        text.encode()  # half a surrogate pair is a ValueError here, and later a crash
    return text


_Step = Callable[[_Unpickler, Any], Any]
# Instructions that put a value on the stack -> how the value is made of the instruction's argument.
_VALUES: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _whole),
    **dict.fromkeys(("FLOAT", "BINFLOAT"), float),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE"), _text),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE8"), _text),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), lambda data: data),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda _: []),
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
}
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.last(1),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.stack.append(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.stack.append(tuple(machine.last(3))),
    **dict.fromkeys(("LIST", "FROZENSET"), lambda machine, _: machine.stack.append(machine.since_mark())),
    "DICT": _Unpickler.mapping,
    "APPEND": lambda machine, _: machine.extend(machine.last(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.extend(machine.since_mark())),
    "SETITEM": lambda machine, _: machine.put(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.put(machine.since_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, key: machine.remember(int(key))),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, n: machine.stack.append(machine.memo[int(n)])),
    "GLOBAL": lambda machine, name: machine.name(name.replace(" ", ".")),
    "STACK_GLOBAL": lambda machine, _: machine.name(".".join(machine.last(2))),
    "REDUCE": _Unpickler.reduce,
    "BUILD": _Unpickler.build,
}
