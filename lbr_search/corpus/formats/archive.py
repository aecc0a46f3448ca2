"""ZIP and tar archives of any files that can be read: unpacked apart, within limits, and read."""

from __future__ import annotations

import dataclasses
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from lbr_search.corpus.each import read_each
from lbr_search.corpus.records import RowError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

MAX_UNPACKED_BYTES = 4_000_000_000
MAX_RATIO = 200
"""Unpacked to packed; text reaches 20, a bomb 1,000."""
RATIO_FREE_BYTES = 10_000_000
"""Below it no ratio is asked for: it does no harm."""
MAX_MEMBERS = 200_000
SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz")
_BLOCK_BYTES = 1 << 20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)


def read_archive(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Files inside .zip, .tar (also .tgz, .tar.gz, .tar.xz ...), as those of a folder are read.

    Ids are the paths inside. Members that are links or would land elsewhere, archives in archives,
    and what passes the limits of size, ratio and number, are rejected.
    """
    return read_each(path, parse, SUFFIXES, options=options, rejects=rejects)


def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The documents of one archive."""
    from lbr_search.corpus.files import read_tree  # it reads archives by this function

    with tempfile.TemporaryDirectory(prefix="lbr-search-") as unpacked:
        _unpack(file, Path(unpacked), rejects)
        inner = _Inside(file, Path(unpacked), rejects)
        for document in read_tree(Path(unpacked), options=options, rejects=inner, archives=False):
            yield _renamed(document, file)


def check_bomb(packed: zipfile.ZipFile) -> None:
    """Refuse a ZIP whose directory promises too much.

    Raises:
        RowError: its members are too many, too large, or packed too well to be true.
    """
    members = packed.infolist()
    unpacked = sum(member.file_size for member in members)
    compressed = sum(member.compress_size for member in members)
    _check_limits(unpacked, compressed, len(members))


class _Inside:
    """Rejects of files inside, under the name of the archive and their path in it."""

    def __init__(self, archive: Path, folder: Path, rejects: RejectSink) -> None:
        self._archive, self._folder, self._rejects = archive, folder, rejects

    def _named(self, file: Path) -> Path:
        return self._archive / file.relative_to(self._folder)

    def add(self, file: Path, line: int | None, reason: str) -> None:
        """As `RejectSink`."""
        self._rejects.add(self._named(file), line, reason)

    def skip(self, file: Path, reason: str) -> None:
        """As `RejectSink`."""
        self._rejects.skip(self._named(file), reason)

    def note(self, file: Path, reason: str) -> None:
        """As `RejectSink`."""
        self._rejects.note(self._named(file), reason)


def _renamed(document: Document, archive: Path) -> Document:
    path = document.metadata.get("path")
    return dataclasses.replace(
        document,
        doc_id=f"{archive.name}::{document.doc_id}",
        metadata={**document.metadata, "path": f"{archive.name}/{path}"},
    )


def _unpack(file: Path, folder: Path, rejects: RejectSink) -> None:
    try:
        if zipfile.is_zipfile(file):
            _unpack_zip(file, folder, rejects)
        else:
            _unpack_tar(file, folder, rejects)
    except RowError:  # a limit that was passed; a ValueError too
        raise
    except (*_DAMAGED, EOFError, NotImplementedError, ValueError) as error:
        raise RowError(f"damaged: {error}") from error
    except RuntimeError as error:  # what zipfile raises where a password is needed
        raise RowError(f"encrypted: {error}") from error


def _unpack_zip(file: Path, folder: Path, rejects: RejectSink) -> None:
    with zipfile.ZipFile(file) as packed:
        check_bomb(packed)
        budget = _Budget(file.stat().st_size)
        for member in packed.infolist():
            is_regular = not stat.S_ISLNK(member.external_attr >> 16)
            if member.filename.endswith("/") or not _is_safe(
                file, member.filename, is_regular, rejects
            ):
                continue
            with packed.open(member) as stream:
                budget.copy(stream, folder / member.filename)


def _unpack_tar(file: Path, folder: Path, rejects: RejectSink) -> None:
    budget = _Budget(file.stat().st_size)
    with tarfile.open(file, "r:*") as packed:
        for member in packed:
            if member.isdir() or not _is_safe(file, member.name, member.isfile(), rejects):
                continue
            stream = packed.extractfile(member)
            assert stream is not None, "regular members have content"
            budget.copy(stream, folder / member.name)


class _Budget:
    """What may still be written: counted as it is unpacked, for headers can lie."""

    def __init__(self, packed_bytes: int) -> None:
        self._packed = packed_bytes
        self._n_bytes = 0
        self._n_members = 0

    def copy(self, stream: IO[bytes], target: Path) -> None:
        self._n_members += 1
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as output:
            while block := stream.read(_BLOCK_BYTES):
                self._n_bytes += len(block)
                _check_limits(self._n_bytes, self._packed, self._n_members)
                output.write(block)


def _check_limits(unpacked: int, packed: int, n_members: int) -> None:
    if unpacked > MAX_UNPACKED_BYTES:
        raise RowError(f"archive too large: over {MAX_UNPACKED_BYTES:,} bytes unpacked")
    if unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * max(packed, 1):
        raise RowError(f"archive bomb: unpacks to over {MAX_RATIO} times its size")
    if n_members > MAX_MEMBERS:
        raise RowError(f"archive too large: over {MAX_MEMBERS:,} files")


def _is_safe(file: Path, name: str, is_regular: bool, rejects: RejectSink) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    leaves = path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]
    if leaves or "\0" in name:
        rejects.add(file, None, f"unsafe member: {name!r} would be written outside")
    elif not is_regular:
        rejects.add(file, None, f"unsafe member: {name!r} is a link or a device")
    else:
        return True
    return False
