"""A folder of anything: each file read by the reader of its kind, the others counted."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lbr_search.corpus.code.reader import IGNORED
from lbr_search.corpus.code.rules import skipped_by_name
from lbr_search.corpus.detect import detect_file
from lbr_search.corpus.each import read_one
from lbr_search.corpus.walk import walk_tree
from lbr_search.protocols import CorpusReader, ReadOptions, RejectSink
from lbr_search.registry import READERS
from lbr_search.types import Document

APART = frozenset({"pdf", "html", "docx", "epub"})
"""Readers that work in processes of their own (`guarded`): several files at a time pay."""

_N_WORKERS = min(4, os.cpu_count() or 1)
_N_AHEAD = 2 * _N_WORKERS
"""Files read ahead; what they hold is all that waits in memory."""


def read_files(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The documents of every file below a folder that a reader knows.

    Ids begin with the path below the folder. What ignore files name, what is generated, minified,
    vendored or binary, and kinds of files that no reader knows, are skipped and counted.
    """
    return read_tree(path, options=options, rejects=rejects, archives=True)


def read_tree(
    path: Path, *, options: ReadOptions, rejects: RejectSink, archives: bool
) -> Iterator[Document]:
    """`read_files`; without `archives` those inside are rejected, so that nesting ends."""
    waiting: deque[tuple[Path, str, Future[_Read] | None]] = deque()
    with ThreadPoolExecutor(_N_WORKERS) as workers:
        try:
            for file, name in _known_files(path, rejects):
                if name == "archive" and not archives:
                    rejects.add(file, None, "archive in an archive: not unpacked")
                    continue
                ahead = workers.submit(_read, file, name, path, options) if name in APART else None
                waiting.append((file, name, ahead))
                while len(waiting) > _N_AHEAD or (waiting and waiting[0][2] is None):
                    yield from _documents(*waiting.popleft(), path, options, rejects)
            while waiting:
                yield from _documents(*waiting.popleft(), path, options, rejects)
        finally:
            workers.shutdown(cancel_futures=True)


def read_file(
    file: Path, root: Path, *, options: ReadOptions, rejects: RejectSink
) -> Iterator[Document]:
    """The documents of one file as `read_files` of the folder `root` gives them."""
    name = _kind(file, root, rejects)
    if name is not None:
        yield from _documents(file, name, None, root, options, rejects)


class _Read:
    """What a worker found: documents, and what to say of the file, in order."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._said: list[Callable[[RejectSink], None]] = []

    def add(self, file: Path, line: int | None, reason: str) -> None:
        """As `RejectSink`."""
        self._said.append(lambda rejects: rejects.add(file, line, reason))

    def skip(self, file: Path, reason: str) -> None:
        """As `RejectSink`."""
        self._said.append(lambda rejects: rejects.skip(file, reason))

    def note(self, file: Path, reason: str) -> None:
        """As `RejectSink`."""
        self._said.append(lambda rejects: rejects.note(file, reason))

    def tell(self, rejects: RejectSink) -> None:
        """Hand on what was said."""
        for say in self._said:
            say(rejects)


def _read(file: Path, name: str, root: Path, options: ReadOptions) -> _Read:
    read = _Read()
    read.documents.extend(_documents(file, name, None, root, options, read))
    return read


def _documents(
    file: Path,
    name: str,
    ahead: Future[_Read] | None,
    root: Path,
    options: ReadOptions,
    rejects: RejectSink,
) -> Iterator[Document]:
    if ahead is not None:
        read = ahead.result()
        read.tell(rejects)
        yield from read.documents
        return
    reader: CorpusReader = READERS.resolve(name)
    yield from read_one(
        file,
        lambda one, how, sink: reader(one, options=how, rejects=sink),
        root=root,
        options=options,
        rejects=rejects,
    )


def _known_files(root: Path, rejects: RejectSink) -> Iterator[tuple[Path, str]]:
    for file in walk_tree(root, lambda ignored: rejects.skip(ignored, IGNORED)):
        name = _kind(file, root, rejects)
        if name is not None:
            yield file, name


def _kind(file: Path, root: Path, rejects: RejectSink) -> str | None:
    reason = skipped_by_name(file.relative_to(root).as_posix())
    name = detect_file(file) if reason is None else None
    if name is None:
        rejects.skip(file, reason or f"no reader for {file.suffix.lower() or 'its kind'}")
    return name
