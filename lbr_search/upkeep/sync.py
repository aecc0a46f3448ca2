"""`sync`: an index brought in step with its sources, reading only the files that changed."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from lbr_search.config import IndexConfig, from_mapping
from lbr_search.corpus.chunking import TokenSpans, chunk_documents
from lbr_search.corpus.inventory import (
    Changes,
    FileState,
    compare,
    file_of,
    is_whole,
    read_files_of,
    take_inventory,
)
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import read_resolved
from lbr_search.encoder.load import load_encoder
from lbr_search.errors import CorpusError, IndexFormatError
from lbr_search.index.build import REJECTED_FILE, build
from lbr_search.index.documents import uncertain_documents
from lbr_search.index.lock import writing
from lbr_search.index.manifest import IndexManifest, load_manifest
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
from lbr_search.types import Chunk, Document


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
    noted: dict[str, int] = field(default_factory=dict)
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
    if dry_run:
        work = _look_at(index, load_manifest(index), drop)
        report = SyncReport(index, [one.plan() for one in work], 0.0)
    else:
        with writing(index) as manifest:
            report = _bring_in_step(index, manifest, drop, encoder, progress)
    return dataclasses.replace(report, seconds=time.perf_counter() - started)


def _bring_in_step(
    index: Path,
    manifest: IndexManifest,
    drop: Path | None,
    encoder: Encoder | None,
    progress: Callable[[BuildProgress], None] | None,
) -> SyncReport:
    work = _look_at(index, manifest, drop)
    report = SyncReport(index, [one.plan() for one in work], 0.0)
    if not report.has_changes:
        _keep_states(index, work)
        return report
    deleted: set[str] = set()
    built = None

    @cache
    def opened() -> Encoder:
        return encoder or load_encoder(manifest.seal.encoder_spec)

    with Rejects(index / REJECTED_FILE) as rejects:
        chunks = _chunks(
            work,
            deleted,
            _Sink(rejects),
            token_spans=lambda text: opened().token_spans(text),
            forgotten=load_forgotten(index),
        )
        first = next(chunks, None)
        if first is not None or deleted:  # else the changed files hold nothing that can be read
            built = build(
                chunks if first is None else itertools.chain([first], chunks),
                encoder=opened(),
                folder=index,
                config=from_mapping(IndexConfig, manifest.settings, where=f"{index} settings"),
                delete=deleted,
                progress=progress,
            )
    save_record(index, SourceRecord([one.recorded() for one in work if not one.is_dropped]))
    return dataclasses.replace(
        report,
        build=built,
        rejected=rejects.by_reason,
        left_out=rejects.skipped,
        noted=rejects.noted,
        n_kept=sum(one.n_kept for one in work),
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

    def note(self, file: Path, reason: str) -> None:
        """As `RejectSink`."""
        self._rejects.note(file, reason)


@dataclass(slots=True)
class _Work:
    """One source while it is brought up to date."""

    source: RecordedSource
    changes: Changes
    now: dict[str, FileState]
    is_dropped: bool
    strays: frozenset[str] = frozenset()
    """Documents without a file, left by a run that was cut off."""
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
        return dataclasses.replace(old, files=self.now, documents=documents | self.found)

    def untouched(self) -> Iterator[str]:
        """Documents that stay as they are."""
        if self.is_dropped or (self.changes and is_whole(self.source.source)):
            return
        touched = {*self.changes.changed, *self.changes.deleted}
        for name, ids in self.source.documents.items():
            if name not in touched:
                yield from ids


def _look_at(index: Path, manifest: IndexManifest, drop: Path | None) -> list[_Work]:
    """What is to be done about each source on record.

    Raises:
        IndexFormatError: no record of sources, or `drop` is none of them.
        CorpusError: a source is gone.
    """
    record = load_record(index)
    if drop is not None and drop.absolute() not in [one.source.path for one in record.sources]:
        known = "\n".join(f"  {one.source.path}" for one in record.sources)
        raise IndexFormatError(f"{drop} is no source of {index}:\n{known}", "name one of these")
    forgotten = load_forgotten(index)
    known_ids = {d for one in record.sources for ids in one.documents.values() for d in ids}
    uncertain = uncertain_documents(index, manifest, known_ids)
    work = []
    for one in record.sources:
        if drop is not None and one.source.path == drop.absolute():
            work.append(_Work(one, Changes(), {}, is_dropped=True))
            continue
        now = without_forgotten(take_inventory(one.source, one.files), forgotten)
        changes = _with_uncertain(one, compare(one.files, now), now, uncertain)
        work.append(_Work(one, changes, now, is_dropped=False))
    if uncertain:
        work[0].strays = frozenset(uncertain - known_ids)
    return work


def _with_uncertain(
    one: RecordedSource, changes: Changes, now: Mapping[str, FileState], uncertain: set[str]
) -> Changes:
    """`changes`, and as changed those files whose documents a run that was cut off has touched."""
    suspects = {name for name, ids in one.documents.items() if not uncertain.isdisjoint(ids)}
    suspects.update(file_of(doc_id, now) for doc_id in uncertain)
    if is_whole(one.source) and suspects:
        suspects.update(now)
    again = [n for n in now if n in suspects and n not in changes.added + changes.changed]
    return dataclasses.replace(changes, changed=(*changes.changed, *again))


def _keep_states(index: Path, work: list[_Work]) -> None:
    """Remember new times of files whose bytes are the same, so that they are not hashed again."""
    if any(one.now != one.source.files for one in work):
        sources = [dataclasses.replace(one.source, files=one.now) for one in work]
        save_record(index, SourceRecord(sources))


def _chunks(
    work: list[_Work],
    deleted: set[str],
    sink: _Sink,
    *,
    token_spans: TokenSpans,
    forgotten: frozenset[str],
) -> Iterator[Chunk]:
    """Chunks of what changed; at the end `deleted` holds the ids that are in no file now."""
    gone = {doc_id for one in work for doc_id in one.strays}
    taken = {doc_id for one in work for doc_id in one.untouched()}
    for one in work:
        if one.is_dropped:
            gone.update(*one.source.documents.values())
        elif one.changes:
            documents = _new_documents(one, taken, sink, forgotten)
            yield from chunk_documents(documents, token_spans=token_spans, config=one.source.chunk)
            gone.update(_missing(one, sink))
    deleted.update(gone - taken)


def _new_documents(
    one: _Work, taken: set[str], sink: _Sink, forgotten: frozenset[str]
) -> Iterator[Document]:
    """Documents of the changed files of a source; their ids join `taken`."""
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
