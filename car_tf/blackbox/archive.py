"""A file in an archive, read within bounds and never written by the names there."""

import bz2
import gzip
import lzma
import pathlib
import tarfile
import zlib
from typing import BinaryIO

from car_tf.data import io

ENDINGS = (".tar.gz", ".tgz", ".tar")
# Protocol buffers, and with them graphs, end there.
_MAX_FILE_BYTES = 2**31 - 1
_MAX_MEMBERS = 1000
# Of an archive's content once decompressed, and of a file's name and attributes in it.
_MAX_ARCHIVE_BYTES, _MAX_HEADER_BYTES = 2**32, 2**16
# Also of numbers that are none, and of names that describe names that describe names.
_DAMAGES = (
    *(tarfile.TarError, EOFError, zlib.error, lzma.LZMAError),
    *(ValueError, RecursionError),
)
# First bytes of a compressed archive -> what opens it.
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


class _Bounded:
    """What an archive holds, decompressed; no more than is allowed is ever read.

    Python's reader of archives takes names and attributes into memory whole, as long as
    they say they are.
    """

    def __init__(self, path: pathlib.Path, stream: BinaryIO):
        self._path, self._stream = path, stream
        self.max_bytes = _MAX_HEADER_BYTES
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        self._check(size, self.max_bytes, "names and attributes of")
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position, _MAX_ARCHIVE_BYTES, "an archive of")
        return self._stream.seek(position)

    def _check(self, size: int, limit: int, what: str) -> None:
        if not 0 <= size <= limit:
            found = f"wanted {what} at most {limit} bytes, got {size}"
            raise io.DataError(f"{self._path}: {found}")


def read(file: pathlib.Path, name: str) -> bytes:
    """Reads the one file of a name, in whatever folder of the archive it lies.

    Raises:
      DataError: damaged, refused, no such file, or several.
    """
    with open(file, "rb") as stream:
        start = stream.read(6)
    opens = [opens for magic, opens in _COMPRESSIONS.items() if start.startswith(magic)]
    try:
        with (opens[0] if opens else open)(file, "rb") as stream:
            bounded = _Bounded(file, stream)
            with tarfile.open(fileobj=bounded, mode="r:") as opened:
                wanted = _member(file, opened, name)
                bounded.max_bytes = _MAX_FILE_BYTES
                return opened.extractfile(wanted).read()
    except io.DataError:
        raise
    except _DAMAGES as error:
        raise io.DataError(f"{file}: damaged archive ({error})") from error


def _member(file: pathlib.Path, opened: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    members = []
    for member in opened:
        members.append(member)
        # Before what follows it is looked for, which means decompressing it.
        if member.size > _MAX_FILE_BYTES or len(members) > _MAX_MEMBERS:
            raise io.DataError(
                f"{file}: wanted a graph of at most 2 GiB among at most {_MAX_MEMBERS} "
                f"files, got {member.size} bytes in file {len(members)}"
            )
        path = pathlib.PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            words = "refused, because it names a file outside itself"
            raise io.DataError(f"{file}: {words}: {path}")
    found = [m for m in members if m.isfile() and m.name.split("/")[-1] == name]
    if len(found) != 1:
        names = [member.name for member in found or members]
        raise io.DataError(
            f"{file}: wanted one {name}, found {len(found)} among "
            f"{', '.join(names[:10]) or 'no files'}"
        )
    return found[0]
