"""Plain, gzip, xz and zstd files as streams of bytes and lines; truncation is always an error."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, TextIO, cast

from lbr_search.errors import CorpusError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSIONS = (".gz", ".xz", ".zst")
"""Suffixes that are unpacked while reading."""

MAX_LINE_BYTES = 256_000_000
"""A longer line is refused: it would have to fit the memory several times over."""

_BLOCK_BYTES = 1 << 16
_BOM = b"\xef\xbb\xbf"


def plain_name(path: Path) -> str:
    """File name without its compression suffix.

    >>> plain_name(Path("a/corpus.jsonl.xz")), plain_name(Path("notes.txt"))
    ('corpus.jsonl', 'notes.txt')
    """
    return path.stem if path.suffix.lower() in COMPRESSIONS else path.name


def kind_suffix(path: Path) -> str:
    """The suffix below that of a compression, lower case.

    >>> kind_suffix(Path("a/pubmed25n0001.XML.gz")), kind_suffix(Path("notes"))
    ('.xml', '')
    """
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSIONS else suffix


def find_compressed(folder: Path, name: str) -> Path | None:
    """The file called `name` in `folder`, plain or compressed; None when there is none.

    Raises:
        CorpusError: more than one form of it exists, and they may differ.
    """
    found = [p for suffix in ("", *COMPRESSIONS) if (p := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise CorpusError(
            f"{folder} holds {name} more than once: {', '.join(p.name for p in found)}.",
            f"keep one of them, e.g. rm {found[-1]}",
        )
    return found[0] if found else None


class SourceFile(io.FileIO):
    """A file of a source, open for reading; what is taken from all of them is counted."""

    n_bytes_read: ClassVar[int] = 0
    """By this process and its readers apart, since it began; shows how far an ingest is."""

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """As of a file."""
        n_bytes = super().readinto(buffer)
        SourceFile.n_bytes_read += n_bytes or 0
        return n_bytes

    def readall(self) -> bytes:
        """As of a file."""
        data = super().readall()
        SourceFile.n_bytes_read += len(data)
        return data


def count_read(path: Path) -> None:
    """Count a file that a library has read by itself."""
    SourceFile.n_bytes_read += path.stat().st_size


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for reading, unpacked by its suffix.

    Raises:
        CorpusError: the file is missing, unreadable, truncated or not what its suffix says;
            also when that shows only while the caller reads.
    """
    try:
        with (
            io.BufferedReader(SourceFile(path), _BLOCK_BYTES) as packed,
            _unpacked(path, packed) as stream,
        ):
            yield stream
    except EOFError as error:
        raise _damaged(path, "it ends early (truncated)") from error
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, _ZstdDamagedError) as error:
        raise _damaged(path, f"{error}") from error
    except FileNotFoundError as error:
        raise CorpusError(f"{path} does not exist.", "check the path") from error
    except (PermissionError, IsADirectoryError) as error:
        raise CorpusError(
            f"{path} cannot be read: {error.strerror}.", f"check it with ls -l {path}"
        ) from error


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (1-based line number, line with its end) of a plain or compressed file.

    A UTF-8 byte order mark at the start is left out.

    Raises:
        CorpusError: as `open_bytes`; also a line over `MAX_LINE_BYTES`, of which no more is read.
    """
    with open_bytes(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise CorpusError(
                    f"{path}:{number} is longer than {MAX_LINE_BYTES:,} bytes.",
                    "end each record with a line end, or convert the file",
                )
            yield number, line.removeprefix(_BOM) if number == 1 else line


def open_writer(path: Path) -> TextIO:
    """Open `path` for writing UTF-8 text, packed as its suffix says.

    Raises:
        CorpusError: the file cannot be made.
    """
    try:
        if path.suffix.lower() == ".gz":
            return cast(TextIO, gzip.open(path, "wt", encoding="utf-8"))
        if path.suffix.lower() == ".xz":
            return cast(TextIO, lzma.open(path, "wt", encoding="utf-8"))
        if path.suffix.lower() == ".zst":
            import zstandard

            return cast(TextIO, zstandard.open(path, "wt", encoding="utf-8"))
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be written: {error.strerror}.", f"check it with ls -ld {path.parent}"
        ) from error


class _ZstdDamagedError(Exception):
    """What the zstd library says of a bad file; turned into a CorpusError by `open_bytes`."""


class _ZstdReader(io.RawIOBase):
    """Zstd frames as a raw stream. The library's own reader takes a cut frame for a whole one."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._file = file
        self._library = zstandard
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._is_inside = False
        self._packed = b""
        self._ready = memoryview(b"")  # a view: slicing it copies nothing

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        while not self._ready:
            if not self._packed:
                self._packed = self._file.read(_BLOCK_BYTES)
            if not self._packed:
                if self._is_inside:
                    raise EOFError
                return 0
            self._unpack()
        n_bytes = min(len(view), len(self._ready))
        view[:n_bytes] = self._ready[:n_bytes]
        self._ready = self._ready[n_bytes:]
        return n_bytes

    def _unpack(self) -> None:
        try:
            self._ready = memoryview(self._frame.decompress(self._packed))
        except self._library.ZstdError as error:
            raise _ZstdDamagedError(str(error)) from error
        self._packed = self._frame.unused_data if self._frame.eof else b""
        self._is_inside = not self._frame.eof
        if self._frame.eof:
            self._frame = self._library.ZstdDecompressor().decompressobj()


def _unpacked(path: Path, packed: IO[bytes]) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(packed, "rb"))
    if suffix == ".xz":
        return cast(IO[bytes], lzma.open(packed, "rb"))
    if suffix == ".zst":
        return io.BufferedReader(_ZstdReader(packed), buffer_size=_BLOCK_BYTES)
    return packed


def _damaged(path: Path, reason: str) -> CorpusError:
    return CorpusError(
        f"{path} cannot be unpacked: {reason}.", f"make or download {path.name} again"
    )
