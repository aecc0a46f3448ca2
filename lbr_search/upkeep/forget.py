"""`forget`: documents removed from every file of an index, and the files searched to prove it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbr_search.encoder.read_texts import has_read
from lbr_search.errors import ConfigError, CorpusError, IndexFormatError
from lbr_search.index.build import REJECTED_FILE
from lbr_search.index.documents import document_states
from lbr_search.index.files import list_files
from lbr_search.index.journal import Journal
from lbr_search.index.lock import writing
from lbr_search.index.manifest import (
    BEFORE_FILE,
    SNAPSHOTS,
    IndexManifest,
    next_store_folder,
    store_folder,
)
from lbr_search.index.opened import open_index
from lbr_search.index.reindex import SHADOW_FILE
from lbr_search.index.republish import republish
from lbr_search.index.store import ChunkStore
from lbr_search.index.stored import stored_documents
from lbr_search.registry import nearest
from lbr_search.search.searcher import Searcher
from lbr_search.source_record import (
    SOURCES_FILE,
    id_digest,
    load_forgotten,
    load_record,
    save_forgotten,
    save_record,
)
from lbr_search.types import Document, passage_text
from lbr_search.upkeep.snapshots import Snapshot, list_snapshots

CONFIG_FILE = "lbr.json"
"""Of every checkpoint folder."""
PROBE_CHARS = 48
PROBES_PER_DOCUMENT = 6
"""Pieces of each document's text that are searched for, byte by byte."""
_BLOCK_BYTES = 1 << 24
_MIN_ID_CHARS = 6
"""Shorter ids stand in any file by chance."""


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What was removed, and what the search of the files found."""

    index: Path
    n_documents: int
    n_chunks: int
    n_probes: int
    """Pieces of text and ids that were searched for."""
    n_shared: int
    """Pieces that other documents hold too; they prove nothing and were left out."""
    found_before: dict[str, int]
    """File -> how many of the pieces it held before."""
    found_after: dict[str, int]
    """The same afterwards; empty = none of them is in any file."""
    n_files: int
    """Files that were searched afterwards."""
    sources: tuple[Path, ...] = ()
    """Sources that still hold one of the documents: not touched, and not read again from there."""
    readers: tuple[Path, ...] = ()
    """Checkpoints whose training read one of the documents: not touched."""
    unknown: tuple[Path, ...] = ()
    """Checkpoints that keep no record of what they read."""

    @property
    def is_proved(self) -> bool:
        """Whether nothing was found any more."""
        return not self.found_after


def forget(
    index: Path,
    doc_ids: Sequence[str],
    *,
    checkpoints: Path | None = None,
    drop_snapshots: bool = False,
) -> ForgetReport:
    """Remove documents for good.

    They go from the table, the vectors, the terms and the texts: all is written anew, and older
    tables and generations are deleted, those of a former encoder too. Then every file
    of the folder is searched for pieces of their texts and for their ids. A digest of each id
    stays in ``forgotten.json``, so that an ingest or `sync` of the same source leaves it out.
    Run again after a kill, it goes on. Copies elsewhere (sources, backups, run files, encoders
    trained on the text) are not touched.

    Args:
        index: a published index.
        doc_ids: what to remove, one or more.
        checkpoints: folder below which encoders are asked whether they were trained on one of the
            documents; None = none are asked.
        drop_snapshots: give up all snapshots of the index, which hold what it held.

    Raises:
        IndexFormatError: there are snapshots, which are not to be dropped; an id is not in the
            index, another writer, or a damaged index.
        CorpusError: nothing would be left.
    """
    wanted = list(dict.fromkeys(doc_ids))
    with writing(index) as manifest:
        table = store_folder(index, manifest)
        store = ChunkStore.open_version(table, manifest.store_version)
        states, _ = document_states(store)
        forgotten = load_forgotten(index)
        # a run that was cut off has put its ids on record first, and may have published
        unknown = [d for d in wanted if d not in states and id_digest(d) not in forgotten]
        if unknown:
            raise IndexFormatError(
                f"{index} holds no document {unknown[0]!r} ({len(unknown)} of {len(wanted)} ids "
                "are unknown); nothing was changed.",
                nearest(unknown[0], list(states)[:100_000]),
            )
        _refuse_snapshots(index, [] if drop_snapshots else list_snapshots(index))
        rows = [row for d in wanted if d in states for row in states[d].rows]
        if len(states) == sum(d in states for d in wanted):
            raise CorpusError(f"nothing would be left of {index}.", f"rm -r {index}")
        save_forgotten(index, forgotten | {id_digest(d) for d in wanted})
        readers, silent = _trained_on(stored_documents(store, only=set(wanted)), checkpoints)
        probes = list(_probes(store, set(rows), wanted))
        before = scan(index, probes)
        journal = Journal.open(index, rows={state.first_row for state in states.values()})
        new = store.copy_without(rows, next_store_folder(index, manifest))
        _purge(index, republish(index, manifest, new, journal))
        sources = _clean_records(index, set(wanted), probes)
        distinct = _not_shared(new, probes)
        after = scan(index, distinct)
    return ForgetReport(
        index=index,
        n_documents=sum(d in states for d in wanted),
        n_chunks=len(rows),
        n_probes=len(distinct),
        n_shared=len(probes) - len(distinct),
        found_before=before,
        found_after=after,
        n_files=len(list_files(index)),
        sources=sources,
        readers=readers,
        unknown=silent,
    )


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """One that `find_documents` found."""

    doc_id: str
    title: str
    score: float | None
    """Of the search; None = found by a filter alone."""


def find_documents(
    index: Path, *, query: str = "", filter: str | None = None, k: int = 10
) -> list[FoundDocument]:
    """Documents to forget, by what they say or by their metadata. Nothing is changed.

    Args:
        index: a published index.
        query: the best `k` for it, with the index's own settings; "" = all that pass the filter.
        filter: an SQL condition, as for a search.
        k: at most so many for a query.

    Raises:
        ConfigError: there is neither query nor filter.
        FilterError: the filter does not parse, or names no column.
        IndexFormatError, SealError, EncoderError: the index or its encoder cannot be opened.
    """
    if query.strip():
        hits = Searcher.open(index).search(query, k=k, filter=filter)
        return [FoundDocument(hit.doc_id, hit.title, hit.score) for hit in hits]
    if not filter:
        raise ConfigError("there is nothing to look for.", "give DOC_ID, --query or --filter")
    with open_index(index, encoder=None) as opened:
        first: dict[str, FoundDocument] = {}
        for chunk in opened.fetch(opened.filter(filter)):
            first.setdefault(chunk.doc_id, FoundDocument(chunk.doc_id, chunk.title, None))
    return list(first.values())


def _refuse_snapshots(index: Path, snapshots: Sequence[Snapshot]) -> None:
    if snapshots:
        names = ", ".join(snapshot.name for snapshot in snapshots)
        raise IndexFormatError(
            f"{index} has snapshots ({names}), from which a forgotten document would come back; "
            "nothing was changed.",
            "forget with --drop-snapshots: all of them are given up",
        )


def scan(folder: Path, probes: Iterable[bytes]) -> dict[str, int]:
    """File below `folder` -> how many of `probes` stand in its bytes; files without any left out.

    Texts that a format packs are not found by this; those of an index are not packed, and what
    was found before the removal shows where they stood.
    """
    wanted = list(probes)
    found = {}
    for path in list_files(folder):
        number = _count(path, wanted)
        if number:
            found[path.relative_to(folder).as_posix()] = number
    return found


def _count(path: Path, probes: Sequence[bytes]) -> int:
    left = list(probes)
    longest = max(map(len, left), default=1)
    tail = b""
    with path.open("rb") as stream:
        while left and (block := stream.read(_BLOCK_BYTES)):
            window = tail + block
            left = [probe for probe in left if probe not in window]
            tail = window[-(longest - 1) :] if longest > 1 else b""
    return len(probes) - len(left)


def _probes(store: ChunkStore, rows: set[int], doc_ids: Sequence[str]) -> Iterator[bytes]:
    """Pieces of the texts of rows, spread over each; and ids long enough to be told apart."""
    for batch in store.scan(["doc_id", "text"]):
        ids, texts = batch.column("row_id").to_pylist(), batch.column("text").to_pylist()
        for row, text in zip(ids, texts, strict=True):
            if row in rows and text:
                step = max(1, (len(text) - PROBE_CHARS) // max(1, PROBES_PER_DOCUMENT - 1))
                starts = range(0, max(1, len(text) - PROBE_CHARS + 1), step)
                for start in list(starts)[:PROBES_PER_DOCUMENT]:
                    yield text[start : start + PROBE_CHARS].encode("utf-8")
    yield from (doc_id.encode("utf-8") for doc_id in doc_ids if len(doc_id) >= _MIN_ID_CHARS)


def _not_shared(store: ChunkStore, probes: Sequence[bytes]) -> list[bytes]:
    """Those that no document of the index holds."""
    left = list(dict.fromkeys(probes))
    for batch in store.scan(["doc_id", "title", "text"]):
        names = ("doc_id", "title", "text")
        held = "\n".join(value for n in names for value in batch.column(n).to_pylist()).encode()
        left = [probe for probe in left if probe not in held]
    return left


def _trained_on(
    documents: Iterable[Document], checkpoints: Path | None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Checkpoints that read one of the documents, and those that cannot say."""
    if checkpoints is None:
        return (), ()
    texts = [
        text for each in documents for text in (each.text, passage_text(each.title, each.text))
    ]
    readers, unknown = [], []
    for config in sorted(checkpoints.rglob(CONFIG_FILE)):
        n_read = has_read(config.parent, texts)
        if n_read is None:
            unknown.append(config.parent)
        elif n_read:
            readers.append(config.parent)
    return tuple(readers), tuple(unknown)


def _purge(index: Path, published: IndexManifest) -> None:
    """Delete whatever is older, of a former encoder and of a change of encoder that was begun."""
    for name in (BEFORE_FILE, SHADOW_FILE):
        (index / name).unlink(missing_ok=True)
    kept = {published.generation_folder, published.store}
    for pattern in ("gen-*", "store*", SNAPSHOTS):
        for path in index.glob(pattern):
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path)


def _clean_records(index: Path, doc_ids: set[str], probes: Sequence[bytes]) -> tuple[Path, ...]:
    """Take ids out of the record of sources, and texts out of the list of rejected lines.

    Returns the sources that the ids came from.
    """
    rejected = index / REJECTED_FILE
    if rejected.is_file() and _count(rejected, probes):
        rejected.unlink()
    if not (index / SOURCES_FILE).is_file():
        return ()
    record = load_record(index)
    held = []
    for one in record.sources:
        if any(doc_ids.intersection(ids) for ids in one.documents.values()):
            held.append(one.source.path)
        one.documents = {
            name: kept
            for name, ids in one.documents.items()
            if (kept := [doc_id for doc_id in ids if doc_id not in doc_ids])
        }
        one.files = {name: state for name, state in one.files.items() if name not in doc_ids}
    save_record(index, record)
    return tuple(held)
