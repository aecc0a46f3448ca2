"""`sync`: an index brought in step with its sources, reading only the files that changed."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.config import IndexConfig, from_mapping
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.corpus.inventory import (
    Changes,
    FileState,
    compare,
    is_whole,
    read_files_of,
    take_inventory,
)
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import read_resolved
from lbr_search.encoder.load import load_encoder
from lbr_search.errors import CorpusError, IndexFormatError
from lbr_search.index.build import REJECTED_FILE, build
from lbr_search.index.manifest import load_manifest
from lbr_search.index.report import BuildProgress, BuildReport
from lbr_search.protocols import Encoder
from lbr_search.source_record import (
    RecordedSource,
    SourceRecord,
    id_digest,
    load_forgotten,
    load_record,
    save_record,
    without_forgotten,
)
from lbr_search.types import Document


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What a sync would do about one source."""

    path: Path
    changes: Changes
    n_files: int
    """Files that the source has now."""
    is_dropped: bool = False


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, or with ``dry_run`` would do."""

    index: Path
    plans: list[SourcePlan]
    seconds: float
    build: BuildReport | None = None
    """None where nothing had changed, or nothing was to be done."""
    rejected: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    n_kept: int = 0
    """Documents that stay as they were since their changed file cannot be read."""

    @property
    def has_changes(self) -> bool:
        """Whether any file differs from what was recorded."""
        return any(plan.changes or plan.is_dropped for plan in self.plans)


def sync(
    index: Path,
    *,
    encoder: Encoder | None = None,
    dry_run: bool = False,
    drop: Path | None = None,
    progress: Callable[[BuildProgress], None] | None = None,
) -> SyncReport:
    """Bring an index in step with the sources that it was made from.

    Files are compared by size and times, those that differ by hash. Only files with other bytes
    are read, and only documents with other content are encoded. Documents of files that are gone
    are removed; those of a changed file that can no longer be read stay, and are counted. The
    encoder is loaded only where something changed.

    Args:
        index: a folder that an ingest made.
        encoder: the one that the index is sealed to; None = opened by what the seal says.
        dry_run: tell what would be done.
        drop: a source to give up: its documents are removed, whether or not it is there.
        progress: called at each phase and encoded batch.

    Raises:
        IndexFormatError: no index, no record of sources, or another writer.
        CorpusError: a source is gone, or nothing would be left.
        SealError: `encoder` is not the one of the index.
    """
    started = time.perf_counter()
    manifest = load_manifest(index)
    record = load_record(index)
    if drop is not None and drop.absolute() not in [one.source.path for one in record.sources]:
        known = "\n".join(f"  {one.source.path}" for one in record.sources)
        raise IndexFormatError(f"{drop} is no source of {index}:\n{known}", "name one of these")
    forgotten = load_forgotten(index)
    work = [_look_at(one, drop, forgotten) for one in record.sources]
    report = SyncReport(index, [one.plan() for one in work], 0.0)
    if not report.has_changes or dry_run:
        if not dry_run:
            _keep_states(index, record, work)
        return dataclasses.replace(report, seconds=time.perf_counter() - started)
    deleted: set[str] = set()
    built = None
    with Rejects(index / REJECTED_FILE) as rejects:
        sink = _Sink(rejects)
        documents = _documents(work, deleted, sink, forgotten=forgotten)
        first = next(documents, None)
        if first is not None or deleted:  # else the changed files hold nothing that can be read
            opened = encoder or load_encoder(manifest.seal.encoder_spec)
            given = documents if first is None else itertools.chain([first], documents)
            built = build(
                chunk_documents(given, token_spans=opened.token_spans, config=record.chunk),
                encoder=opened,
                folder=index,
                config=from_mapping(IndexConfig, manifest.settings, where=f"{index} settings"),
                delete=deleted,
                progress=progress,
            )
    save_record(index, SourceRecord(record.chunk, [w.recorded() for w in work if not w.is_dropped]))
    return dataclasses.replace(
        report,
        build=built,
        rejected=rejects.by_reason,
        left_out=rejects.skipped,
        n_kept=sum(one.n_kept for one in work),
        seconds=time.perf_counter() - started,
    )


class _Sink:
    """Rejects, and the files that they stand in: what was read of those is not all of them."""

    def __init__(self, rejects: Rejects) -> None:
        self._rejects = rejects
        self.unreadable: set[Path] = set()

    def add(self, file: Path, line: int | None, reason: str) -> None:
        """As `RejectSink`."""
        if not reason.startswith("empty text"):
            self.unreadable.add(file)
        self._rejects.add(file, line, reason)

    def skip(self, file: Path, reason: str) -> None:
        """As `RejectSink`."""
        self._rejects.skip(file, reason)


@dataclass(slots=True)
class _Work:
    """One source while it is brought up to date."""

    source: RecordedSource
    changes: Changes
    now: dict[str, FileState]
    is_dropped: bool
    found: dict[str, list[str]] = field(default_factory=dict)
    """File -> ids of the documents read now."""
    n_kept: int = 0

    def plan(self) -> SourcePlan:
        """What is to be done."""
        path = self.source.source.path
        return SourcePlan(path, self.changes, len(self.now), self.is_dropped)

    def recorded(self) -> RecordedSource:
        """The source as it is now."""
        old = self.source
        documents = {name: ids for name, ids in old.documents.items() if name in self.now}
        if is_whole(old.source) and not self.changes:
            documents = old.documents
        return RecordedSource(old.source, old.read, self.now, documents | self.found)


def _look_at(one: RecordedSource, drop: Path | None, forgotten: frozenset[str]) -> _Work:
    if drop is not None and one.source.path == drop.absolute():
        return _Work(one, Changes(), {}, is_dropped=True)
    now = without_forgotten(take_inventory(one.source, one.files), forgotten)
    return _Work(one, compare(one.files, now), now, is_dropped=False)


def _keep_states(index: Path, record: SourceRecord, work: list[_Work]) -> None:
    """Remember new times of files whose bytes are the same, so that they are not hashed again."""
    if any(one.now != one.source.files for one in work):
        for one in work:
            one.source.files = one.now
        save_record(index, record)


def _documents(
    work: list[_Work], deleted: set[str], sink: _Sink, *, forgotten: frozenset[str]
) -> Iterator[Document]:
    """Documents of what changed; at the end `deleted` holds the ids that are in no file now."""
    gone: set[str] = set()
    taken: set[str] = set()
    for one in work:
        if one.is_dropped:
            gone.update(*one.source.documents.values())
        elif one.changes:
            for name, document in _read(one, sink):
                if forgotten and id_digest(document.doc_id) in forgotten:
                    continue
                if document.doc_id in taken:
                    raise CorpusError(
                        f"two files hold a document {document.doc_id!r}; one is in "
                        f"{one.source.source.path}.",
                        "make the ids differ, or give each source its own --index",
                    )
                taken.add(document.doc_id)
                one.found.setdefault(name, []).append(document.doc_id)
                yield document
            gone.update(_missing(one, sink))
        if not one.is_dropped and not one.changes:
            taken.update(*one.source.documents.values())
    deleted.update(gone - taken)


def _read(one: _Work, sink: _Sink) -> Iterator[tuple[str, Document]]:
    source = one.source.source
    if is_whole(source):
        for document in read_resolved(source, options=one.source.read, rejects=sink):
            yield "", document
    else:
        yield from read_files_of(source, one.changes.to_read, options=one.source.read, rejects=sink)


def _missing(one: _Work, sink: _Sink) -> Iterator[str]:
    """Ids that files of the source gave before and do not now; of unreadable files none."""
    source = one.source.source
    files = ("",) if is_whole(source) else (*one.changes.changed, *one.changes.deleted)
    for name in files:
        before = one.source.documents.get(name, [])
        now = set(one.found.get(name, []))
        lost = [doc_id for doc_id in before if doc_id not in now]
        if _has_failed(one, name, sink):
            one.n_kept += len(lost)
            one.found.setdefault(name, []).extend(lost)
        else:
            one.found.setdefault(name, [])
            yield from lost


def _has_failed(one: _Work, name: str, sink: _Sink) -> bool:
    root = one.source.source.path
    if is_whole(one.source.source):
        return any(file == root or root in file.parents for file in sink.unreadable)
    if name in one.changes.deleted:
        return False
    file = root / name
    return any(bad == file or file in bad.parents for bad in sink.unreadable)  # in an archive
