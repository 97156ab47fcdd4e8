"""Reads pickles of plain containers and NumPy arrays without running them.

A pickle is a program, and the usual unpickler runs it. This reader runs nothing: it
goes through the opcodes (`pickletools.genops`), builds containers, strings, numbers
and numeric arrays itself, and refuses every other global by name before anything of it
is looked up. Arrays are not read but mapped: they are views into the file, so that a
pickle of many gigabytes is opened in a few megabytes of memory.
"""

from __future__ import annotations

import math
import os
import pathlib
import pickletools
import re
from typing import Any, Callable

import numpy as np

_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SCALARS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8".split()
)
# Opcode and the bytes between its position and its payload: itself and the length.
_BYTES = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}
# Kind and size, as NumPy writes the dtypes of numbers, booleans and texts.
_PLAIN_DTYPE = re.compile(r"[biufSU]\d{1,9}")
_PUTS = frozenset("PUT BINPUT LONG_BINPUT".split())
_GETS = frozenset("GET BINGET LONG_BINGET".split())


def load(path: str | os.PathLike[str]) -> Any:
    """Returns the object in a pickle of plain containers and NumPy arrays.

    Args:
      path: a pickle of any protocol up to 5.

    Returns:
      Lists, tuples, dicts, strings, numbers, and arrays of numbers or booleans; bytes
      come as arrays too. Arrays are read-only views of the file, which must outlive
      them.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is no pickle, is cut short, or asks for anything else; the
        message names the file and what it asked for.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such pickle")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: empty file, wanted a pickle")
    contents = np.memmap(path, mode="r").view(np.ndarray)
    try:
        with path.open("rb") as file:
            return _Machine(contents).run(file)
    except _Refused as error:
        words = _printable(error)
        raise ValueError(f"{path}: {words}; nothing in it was run") from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path}: broken pickle ({_printable(error)})") from error


def _printable(error: Exception) -> str:
    """Returns a message without what a file could do to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:300])


class _Refused(Exception):
    """The pickle asks for something other than containers and arrays."""


class _Global:
    """A name that the pickle imports, with the function that stands in for it."""

    def __init__(self, name: str, build: Callable[..., Any] | None):
        self.name = name
        self.build = build


class _Dtype:
    """A dtype under construction: its code comes first, its byte order afterwards."""

    def __init__(self, code: Any, *_: Any):
        # NumPy would parse any other text as Python.
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise _Refused(f"an array of type {code!r}, wanted numbers")
        self.dtype = np.dtype(code)

    def set_state(self, state: tuple) -> None:
        order, *structure = state[1:5]
        if any(part is not None for part in structure):
            raise _Refused("an array of a structured type, wanted numbers")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array under construction: it is announced first, its data comes afterwards."""

    def __init__(self, *_: Any):
        self.array = np.zeros(0, np.uint8)

    def set_state(self, state: tuple) -> None:
        shape, dtype, fortran, data = state[-4:]
        self.array = _frombuffer(data, dtype, shape, "F" if fortran else "C")


def _to_bytes(data: Any) -> np.ndarray:
    """Returns raw array data as uint8; Python 2 and protocol 2 store it as text."""
    if isinstance(data, str):
        data = np.frombuffer(data.encode("latin-1"), np.uint8)
    if not isinstance(data, np.ndarray):
        raise _Refused(f"array data of type {type(data).__name__}, wanted bytes")
    return data


def _frombuffer(data: Any, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    """Returns a view of the data as an array, after a check of its size."""
    data = _to_bytes(data)
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(dtype, _Dtype) or not all(isinstance(n, int) for n in shape):
        raise ValueError("an array without type or shape")
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if min(shape, default=0) < 0 or wanted != data.size:
        raise ValueError(f"an array of {wanted} bytes has {data.size}")
    return data.view(dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: _Dtype, data: Any) -> Any:
    """Returns a NumPy scalar."""
    return _frombuffer(data, dtype, (), "C")[()]


def _encode(text: str, encoding: str) -> np.ndarray:
    """Returns bytes that protocol 2 wrote as Latin-1 text."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"text encoded as {encoding!r}, wanted latin1")
    return _to_bytes(text)


def _empty_bytes() -> np.ndarray:
    """Returns no bytes, which protocols up to 2 write as a call of their type."""
    return np.zeros(0, np.uint8)


_ADMITTED: dict[str, Callable[..., Any] | None] = {
    "numpy ndarray": None,
    "numpy dtype": _Dtype,
    "_codecs encode": _encode,
    "__builtin__ bytes": _empty_bytes,
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray _reconstruct"] = _Array
    _ADMITTED[f"{_core}.multiarray scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric _frombuffer"] = _frombuffer


def _finished(value: Any) -> Any:
    """Returns the array that a builder holds, or the value itself."""
    return value.array if isinstance(value, _Array) else value


class _Machine:
    """The pickle machine's stack and memo, less everything that calls code."""

    def __init__(self, contents: np.ndarray):
        self.contents = contents
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: Any) -> Any:
        for opcode, argument, position in pickletools.genops(file):
            name = opcode.name
            if name in _SCALARS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _BYTES:
                start = position + _BYTES[name]
                self.stack.append(self.contents[start : start + len(argument)])
            elif name in _PUTS:
                self.memo[argument] = self.stack[-1]
            elif name in _GETS:
                self.stack.append(self.memo[argument])
            elif name == "STOP":
                return _finished(self.stack.pop())
            elif name not in ("PROTO", "FRAME"):
                step = getattr(self, f"_{name.lower()}", None)
                if step is None:
                    what = f"{name} {argument}" if argument is not None else name
                    raise _Refused(f"it holds the instruction {what}")
                step(argument)
        raise ValueError("it never stops")

    def _pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("no mark on the stack")
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def _list(self, _: Any) -> None:
        self.stack.append([_finished(item) for item in self._pop_to_mark()])

    def _dict(self, _: Any) -> None:
        items = self._pop_to_mark()
        self.stack.append({})
        self._store(items)

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(_finished(item) for item in self._pop_to_mark()))

    def _take_tuple(self, length: int) -> None:
        items = tuple(_finished(item) for item in self.stack[-length:])
        self.stack[-length:] = [items]

    def _tuple1(self, _: Any) -> None:
        self._take_tuple(1)

    def _tuple2(self, _: Any) -> None:
        self._take_tuple(2)

    def _tuple3(self, _: Any) -> None:
        self._take_tuple(3)

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _Refused(f"it appends to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(_finished(item) for item in items)

    def _setitem(self, _: Any) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        self._store(items)

    def _setitems(self, _: Any) -> None:
        self._store(self._pop_to_mark())

    def _store(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise _Refused(f"it sets items of a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(zip(items[::2], map(_finished, items[1::2])))

    def _global(self, name: str) -> None:
        if name not in _ADMITTED:
            raise _Refused(f"it asks for {name.replace(' ', '.')}")
        self.stack.append(_Global(name, _ADMITTED[name]))

    def _stack_global(self, _: Any) -> None:
        module, name = self.stack[-2:]
        del self.stack[-2:]
        self._global(f"{module} {name}")

    def _reduce(self, _: Any) -> None:
        function, arguments = self.stack[-2:]
        del self.stack[-2:]
        if not isinstance(function, _Global) or function.build is None:
            what = getattr(function, "name", type(function).__name__)
            raise _Refused(f"it calls {what.replace(' ', '.')}")
        self.stack.append(function.build(*arguments))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (_Array, _Dtype)):
            raise _Refused(f"it sets the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].set_state(state)
