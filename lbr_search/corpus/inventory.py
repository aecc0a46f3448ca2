"""Which files a source consists of, and whether they are as they were: by stat, then by hash."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lbr_search.corpus.code.languages import CODE_SUFFIXES
from lbr_search.corpus.code.rules import skipped_by_name
from lbr_search.corpus.compressed import COMPRESSIONS, kind_suffix
from lbr_search.corpus.detect import has_known_suffix
from lbr_search.corpus.each import read_one
from lbr_search.corpus.readers import TEXT_SUFFIXES
from lbr_search.corpus.sources import SOURCE_FILE, ResolvedSource
from lbr_search.corpus.walk import walk_tree
from lbr_search.errors import CorpusError
from lbr_search.protocols import CorpusReader, ReadOptions, RejectSink
from lbr_search.registry import READERS
from lbr_search.types import Document

WHOLE = frozenset({"beir", "pubmed", "python-stdlib"})
"""Readers of folders whose files depend on each other: one that changed means all are read."""
RACE_NS = 2_000_000_000
"""A file written so shortly before it was hashed may change again under the same time."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What is known of a file."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    digest: str
    """BLAKE2b of its bytes, in hex."""
    is_settled: bool = True
    """Whether equal times mean equal bytes: it was not written just before it was hashed."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How a source differs from what was recorded; paths below the source, in order."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    """(Old path, new path) of files with the same bytes; they count as deleted and added too."""

    @property
    def to_read(self) -> tuple[str, ...]:
        """Files whose documents must be read."""
        return tuple(sorted((*self.added, *self.changed)))

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)


def take_inventory(source: ResolvedSource, known: Mapping[str, FileState]) -> dict[str, FileState]:
    """The files of a source by their path below it ("" = the source is one file).

    A file whose size and times are as recorded is not opened; any other is hashed.

    Raises:
        CorpusError: the source is gone, or a file of it cannot be read.
    """
    if not source.path.exists():
        raise CorpusError(
            f"the source {source.path} is gone; nothing was changed.",
            f"put it back (or mount its disk); to remove its documents for good: "
            f"lbr-search sync INDEX --drop {source.path}",
        )
    states = {}
    for name, file in _files(source):
        try:
            state = _state(file, known.get(name))
            states[name] = _asked_now(state) if source.reader == "sql" else state
        except OSError as error:
            raise CorpusError(
                f"{file} cannot be read: {error.strerror}.", f"check it with ls -l {file}"
            ) from error
    return states


def compare(before: Mapping[str, FileState], now: Mapping[str, FileState]) -> Changes:
    """What changed between two inventories, by content."""
    added = [name for name in now if name not in before]
    deleted = [name for name in before if name not in now]
    changed = [n for n in now if n in before and now[n].digest != before[n].digest]
    gone = {before[name].digest: name for name in deleted if before[name].size_bytes}
    moved = [(gone[now[name].digest], name) for name in added if now[name].digest in gone]
    return Changes(tuple(added), tuple(changed), tuple(deleted), tuple(moved))


def is_whole(source: ResolvedSource) -> bool:
    """Whether a source is read as one: a single file, or files that depend on each other."""
    return source.path.is_file() or source.reader in WHOLE


def read_files_of(
    source: ResolvedSource, names: Iterable[str], *, options: ReadOptions, rejects: RejectSink
) -> Iterator[tuple[str, Document]]:
    """(File, document) of some files of a source that is not whole, as reading it all gives."""
    options = dataclasses.replace(options, domain=options.domain or source.domain)
    if source.reader == "files":
        from lbr_search.corpus.files import read_file

        for name in names:
            for document in read_file(
                source.path / name, source.path, options=options, rejects=rejects
            ):
                yield name, document
        return
    reader: CorpusReader = READERS.resolve(source.reader)
    for name in names:
        for document in read_one(
            source.path / name,
            lambda file, how, sink: reader(file, options=how, rejects=sink),
            root=source.path,
            options=options,
            rejects=rejects,
        ):
            yield name, document


def file_of(doc_id: str, names: Mapping[str, object]) -> str:
    """The file that a document was read from: ids begin with its path; "" = the source as a whole.

    >>> file_of("src/a.py::A.f", {"src/a.py": None}), file_of("77", {"": None})
    ('src/a.py', '')
    """
    if doc_id in names:
        return doc_id
    at = doc_id.find("::")
    while at >= 0:
        if doc_id[:at] in names:
            return doc_id[:at]
        at = doc_id.find("::", at + 2)
    return ""


def _files(source: ResolvedSource) -> Iterator[tuple[str, Path]]:
    if source.path.is_file():
        yield "", source.path
        return
    root = f"{source.path}".rstrip("/") + "/"
    for file in walk_tree(source.path):
        name = str(file)[len(root) :]
        if _belongs(source.reader, name, file):
            yield name, file


def _belongs(reader: str, name: str, file: Path) -> bool:
    """Whether a reader takes a file, as far as its name tells."""
    if reader == "beir":
        return name == "corpus.jsonl" or name in {f"corpus.jsonl{c}" for c in COMPRESSIONS}
    if reader == "python-stdlib":
        return name == SOURCE_FILE
    if reader == "python":
        return file.suffix.lower() == ".py"
    if reader == "text":
        return file.suffix.lower() in TEXT_SUFFIXES
    if reader == "pubmed":
        return kind_suffix(file) == ".xml"
    if reader == "code":
        return file.suffix.lower() in CODE_SUFFIXES and skipped_by_name(name) is None
    return has_known_suffix(file) and skipped_by_name(name) is None


def _state(file: Path, known: FileState | None) -> FileState:
    found = os.stat(file)  # noqa: PTH116 - the walk's strings; a Path costs more than the call
    stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if known is not None and known.is_settled and stamp == _stamp(known):
        return known
    now = time.time_ns()
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return FileState(*stamp, digest.hexdigest(), is_settled=now - stamp[1] > RACE_NS)


def _asked_now(state: FileState) -> FileState:
    """A query's rows may change while its file stays: it counts as changed each time."""
    return dataclasses.replace(state, digest=f"{state.digest} {time.time_ns()}", is_settled=False)


def _stamp(state: FileState) -> tuple[int, int, int]:
    return (state.size_bytes, state.mtime_ns, state.ctime_ns)
