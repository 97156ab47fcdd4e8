"""Reads pickles of plain containers and NumPy arrays, and runs nothing else in them.

A pickle is a program. This unpickler knows the instructions that build containers,
strings and numbers; each name that a pickle imports is looked up in a list of stand-ins
of this module, never among what is installed. Arrays are mapped, not read: views of the
file, so that a pickle of many gigabytes is opened in a few megabytes of memory.
"""

from __future__ import annotations

import functools
import math
import os
import pathlib
import pickle
import pickletools
import re
from typing import Any

import numpy as np

# Kind and size, as NumPy writes the dtypes of numbers, booleans and texts.
_PLAIN_DTYPE = re.compile(r"[biufSU]\d{1,9}")
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_CODES = {name: code for code, name in _NAMES.items()}
# The instructions that are taken as they are; none of them calls what a file defines.
_PLAIN = (
    "PROTO STOP MARK POP POP_MARK MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 "
    "EMPTY_LIST EMPTY_TUPLE EMPTY_DICT LIST TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS "
    "GLOBAL STACK_GLOBAL REDUCE"
).split()
_KEYS = (str, int, float, bool, type(None))


def load(path: str | os.PathLike[str]) -> Any:
    """Returns what a pickle of containers and arrays holds, of any protocol up to 5.

    Lists, tuples, dicts, strings, numbers, and arrays of numbers or booleans; bytes
    come as arrays too. Arrays are read-only views of the file, which must outlive them.

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
    try:
        with path.open("rb") as file:
            return _Unpickler(file, np.memmap(path, mode="r").view(np.ndarray)).load()
    except _Refused as error:
        words = f"{_printable(error)}; nothing in it was run"
    except Exception as error:  # Damage raises many types.
        words = f"broken pickle ({_printable(error)})"
    raise ValueError(f"{path}: {words}")


def _printable(error: Exception) -> str:
    """Returns a message without what a file could do to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:300])


class _Refused(Exception):
    """The pickle asks for something other than containers and arrays."""


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
        shape, dtype, is_fortran, data = state[-4:]
        self.array = _frombuffer(data, dtype, shape, "F" if is_fortran else "C")


def _finished(value: Any) -> Any:
    """Returns the array that was built, or the value itself."""
    return value.array if isinstance(value, _Array) else value


def _frombuffer(data: Any, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    """Returns a view of the data as an array, after a check of its size."""
    if isinstance(data, str):  # Of Python 2.
        data = np.frombuffer(data.encode("latin-1"), np.uint8)
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(dtype, _Dtype) or not all(isinstance(n, int) for n in shape):
        raise ValueError("an array without type or shape")
    if not isinstance(data, np.ndarray):
        raise _Refused(f"array data of type {type(data).__name__}, wanted bytes")
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if min(shape, default=0) < 0 or wanted != data.nbytes:
        raise ValueError(f"an array of {wanted} bytes has {data.nbytes}")
    return data.view(dtype.dtype).reshape(shape, order=order)


def _refuse(what: str, *_: Any) -> None:
    raise _Refused(what)


def _scalar(dtype: _Dtype, data: Any) -> Any:
    return _frombuffer(data, dtype, (), "C")[()]


class _Memo(dict):
    def __getitem__(self, key: int) -> Any:
        return _finished(super().__getitem__(key))


class _Instructions(dict):
    def __missing__(self, code: int) -> None:
        raise _Refused(f"it holds the instruction {_NAMES.get(code, code)}")


class _Unpickler(pickle._Unpickler):  # The one in C would read what this one maps.
    def __init__(self, file: Any, contents: np.ndarray):
        super().__init__(file, encoding="latin1")
        self.memo, self._file, self._contents = _Memo(), file, contents
        self._num_to_encode = len(contents)
        self._admitted = {
            "numpy.ndarray": functools.partial(_refuse, "it calls numpy.ndarray"),
            "numpy.dtype": _Dtype,
            "_codecs.encode": self._encode,
            "__builtin__.bytes": functools.partial(np.zeros, 0, np.uint8),
        }
        for core in ("numpy.core", "numpy._core"):
            self._admitted[f"{core}.multiarray._reconstruct"] = _Array
            self._admitted[f"{core}.multiarray.scalar"] = _scalar
            self._admitted[f"{core}.numeric._frombuffer"] = _frombuffer

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._admitted:
            raise _Refused(f"it asks for {module}.{name}")
        return self._admitted[f"{module}.{name}"]

    def _encode(self, text: str, encoding: str) -> np.ndarray:
        """Returns bytes that protocol 2 wrote as Latin-1 text."""
        if encoding not in ("latin1", "latin-1"):
            raise _Refused(f"text encoded as {encoding!r}, wanted latin1")
        # A text that is encoded many times over would fill the memory.
        self._num_to_encode -= len(text)
        if self._num_to_encode < 0:
            raise ValueError("more bytes than the file holds")
        return np.frombuffer(text.encode("latin-1"), np.uint8)

    def _map_bytes(self, num_digits: int) -> None:
        start = self._file.tell() + num_digits
        length = int.from_bytes(self.read(num_digits), "little")
        if start + length > len(self._contents):
            raise EOFError("cut short")
        self._file.seek(start + length)
        self.append(self._contents[start : start + length])

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (_Array, _Dtype)):
            raise _Refused(f"it sets the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].set_state(state)
        self.stack[-1] = _finished(self.stack[-1])

    def _set_items(self, items: list) -> None:
        # Nested keys would be hashed, and shown in messages, without end.
        if not all(isinstance(key, _KEYS) for key in items[::2]):
            raise _Refused("it has keys other than strings and numbers")
        if not isinstance(self.stack[-1], dict):
            raise _Refused(f"it sets items of a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(zip(items[::2], items[1::2]))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    dispatch = _Instructions(
        {_CODES[name]: pickle._Unpickler.dispatch[_CODES[name]] for name in _PLAIN}
    )
    dispatch[_CODES["FRAME"]] = lambda self: self.read(8)  # Of use to readers alone.
    dispatch[_CODES["SHORT_BINBYTES"]] = lambda self: self._map_bytes(1)
    dispatch[_CODES["BINBYTES"]] = lambda self: self._map_bytes(4)
    dispatch[_CODES["BINBYTES8"]] = lambda self: self._map_bytes(8)
    dispatch[_CODES["BYTEARRAY8"]] = lambda self: self._map_bytes(8)
    dispatch[_CODES["BUILD"]] = _build
    dispatch[_CODES["DICT"]] = _dict
    dispatch[_CODES["SETITEM"]] = _set_item
    dispatch[_CODES["SETITEMS"]] = lambda self: self._set_items(self.pop_mark())
