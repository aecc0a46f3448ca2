"""Chunks and an encoder -> a published index. Idempotent, resumable, one writer at a time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lbr_search.config import IndexConfig
from lbr_search.errors import CorpusError, IndexFormatError
from lbr_search.index.analysis import analyser_for, versioned
from lbr_search.index.documents import document_states
from lbr_search.index.embedder import embedder, n_vectors_of
from lbr_search.index.files import disk_errors, folder_bytes
from lbr_search.index.generation import (
    Plan,
    Timer,
    build_generation,
    choose_kind,
    publish_and_clean,
)
from lbr_search.index.journal import Journal
from lbr_search.index.lock import HOLDER_FILE, LOCK_FILE, single_writer
from lbr_search.index.manifest import (
    SEAL_FILE,
    STORE_FOLDER,
    IndexManifest,
    Seal,
    check_seal,
    damage_error,
    damaged_files,
    find_manifest,
    ingest_command,
    load_seal,
    new_index_command,
    seal_of,
    store_folder,
    write_seal,
)
from lbr_search.index.mirror import MIRROR_FILE
from lbr_search.index.report import BuildProgress, BuildReport
from lbr_search.index.store import ChunkStore
from lbr_search.index.writer import Embed, Row, Writer, group_documents
from lbr_search.protocols import Encoder
from lbr_search.types import Chunk, Embeddings

REJECTED_FILE = "rejected.jsonl"
"""Lines that could not be read; written by who reads the sources."""
OWN_FILES = {
    LOCK_FILE,
    HOLDER_FILE,
    f"{HOLDER_FILE}.tmp",
    f"{SEAL_FILE}.tmp",
    REJECTED_FILE,
    MIRROR_FILE,
}
"""What may lie in a folder before the seal."""


@dataclass(frozen=True, slots=True)
class _Request:
    """The arguments of a build."""

    encoder: Encoder
    folder: Path
    config: IndexConfig
    domain: str
    analyser: str | None
    delete_missing: bool
    progress: Callable[[BuildProgress], None] | None
    delete: Collection[str] = ()


def build(  # noqa: PLR0913 - the one entry point of ingest; each is a choice of the user
    chunks: Iterable[Chunk],
    *,
    encoder: Encoder,
    folder: Path,
    config: IndexConfig,
    domain: str = "",
    analyser: str | None = None,
    delete_missing: bool = False,
    delete: Collection[str] = (),
    progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """Bring the index in `folder` to hold `chunks`, and publish it.

    Documents that the index has with the same content, cut in the same way, are skipped; changed
    ones are replaced. The same call goes on where one that was killed had stopped.

    Args:
        chunks: those of a document together, numbered from 0.
        encoder: the one that the index is, or will be, sealed to.
        folder: the index; made when absent.
        config: backend, kind, batch sizes.
        domain: name of the field; decides the analyser, and fills chunks without a domain.
        analyser: name in `analysis.ANALYSERS`; None = by domain.
        delete_missing: remove documents of the index that are not among `chunks`.
        delete: ids of documents to remove unless they are among `chunks`; looked at when
            those have been read, so reading them may fill it.
        progress: called at each phase and encoded batch.

    Raises:
        CorpusError: no chunk at all, a document twice, chunks out of order.
        SealError: the index belongs to another encoder.
        IndexFormatError: another writer, a folder that is no index, a full or read-only disk.
    """
    request = _Request(encoder, folder, config, domain, analyser, delete_missing, progress, delete)
    return _build(((chunk, None) for chunk in chunks), request)


def build_from_vectors(  # noqa: PLR0913 - as build
    batches: Iterable[tuple[Sequence[Chunk], Embeddings]],
    *,
    encoder: Encoder,
    folder: Path,
    config: IndexConfig,
    domain: str = "",
    analyser: str | None = None,
    delete_missing: bool = False,
    progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """As `build`, with vectors that are known: batches of (N chunks, (N, D) vectors).

    `encoder` seals the index and is asked for the golden vectors alone.
    """
    request = _Request(encoder, folder, config, domain, analyser, delete_missing, progress)
    rows = (row for chunks, vectors in batches for row in zip(chunks, vectors, strict=True))
    return _build(rows, request)


def _build(rows: Iterator[Row], request: _Request) -> BuildReport:
    timer = Timer()
    with timer.phase("source"):
        first = next(rows, None)
    folder = request.folder
    if first is None and not request.delete:
        raise CorpusError(
            f"the sources hold no documents; {folder} is as it was.",
            "check the sources, and rejected.jsonl for lines that could not be read",
        )
    if folder.is_file():
        raise IndexFormatError(f"{folder} is a file; an index is a folder.", "give --index DIR")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with single_writer(folder):
            try:
                given = rows if first is None else itertools.chain([first], rows)
                return _ingest(given, request, timer)
            except KeyboardInterrupt as stop:
                command = ingest_command(folder, request.encoder.spec)
                stop.add_note(f"stopped; what was committed is kept. To go on: {command}")
                raise


def _ingest(rows: Iterable[Row], request: _Request, timer: Timer) -> BuildReport:
    folder = request.folder
    is_new = load_seal(folder) is None
    seal = _write_new_seal(request, timer) if is_new else _check_old_seal(request)
    previous = find_manifest(folder)
    damage = damaged_files(folder, previous) if previous else {}
    if previous and any(path.startswith(STORE_FOLDER) for path in damage):
        raise damage_error(folder, previous, damage)
    with timer.phase("store"):
        store = _open_store(request)
    embed = embedder(request.encoder, folder, seal, n_vectors=store.n_vectors, is_checked=is_new)
    writer = _open_writer(request, seal, previous, store, embed, timer)
    timer.on_phase = _announcer(writer, request.progress)
    for document in group_documents(timer.each("source", rows)):
        writer.offer(document)
    writer.finish(delete_missing=request.delete_missing, delete=request.delete)
    if previous and not damage and _is_current(previous, writer, request.config):
        return _report(request, writer, previous, is_noop=True)
    plan = Plan(
        folder=folder,
        seal=seal,
        config=request.config,
        previous=previous,
        next_row=writer.journal.next_row,
        totals=writer.journal.totals,
    )
    manifest = build_generation(plan, writer.store, timer)
    report = _report(request, writer, manifest, is_noop=False)
    manifest = replace(manifest, last_build=asdict(report))
    with timer.phase("publish"):
        publish_and_clean(folder, manifest, writer.store, previous)
    warnings = [*report.warnings, *(f"rebuilt {path}: {what}" for path, what in damage.items())]
    return replace(
        report, warnings=warnings, seconds=timer.totals(), size_bytes=folder_bytes(folder)
    )


def _write_new_seal(request: _Request, timer: Timer) -> Seal:
    """Bind an empty folder to the encoder; refuse a folder of other things."""
    folder = request.folder
    strangers = {path.name for path in folder.iterdir()} - OWN_FILES
    if strangers:
        raise IndexFormatError(
            f"{folder} is not an index and not empty: it holds {min(strangers)!r}.",
            "give a new or empty folder with --index DIR",
        )
    analyser = request.analyser or analyser_for(request.domain)
    with timer.phase("encode"):
        seal = seal_of(request.encoder, domain=request.domain, analyser=analyser)
    write_seal(folder, seal)
    return seal


def _check_old_seal(request: _Request) -> Seal:
    """The seal of an index that was begun before, by the same encoder and for the same domain."""
    seal = load_seal(request.folder)
    assert seal is not None, "the caller has seen it, and holds the lock"
    check_seal(request.folder, seal, request.encoder)
    wanted = {"domain": request.domain, "analyser": request.analyser}
    for name, value in wanted.items():
        sealed = getattr(seal, name)
        if value and value != sealed:
            raise IndexFormatError(
                f"{request.folder} has another {name}.\n  index   {sealed!r}\n  ingest  {value!r}",
                f"leave --{name} out, or give another --index",
            )
    return seal


def _open_store(request: _Request) -> ChunkStore:
    """The store that is there, or a new one.

    Raises:
        IndexFormatError: it keeps no compressed vectors, and they are asked for.
    """
    folder = store_folder(request.folder, find_manifest(request.folder))
    wanted = n_vectors_of(request.encoder) if request.config.multi_vector else 0
    if not ChunkStore.exists(folder):
        return ChunkStore.create(folder, dim=request.encoder.dim, n_vectors=wanted)
    store = ChunkStore.open_latest(folder)
    if wanted and not store.n_vectors:
        raise IndexFormatError(
            f"{request.folder} was begun without --multi-vector; it keeps one vector a chunk.",
            f"{new_index_command(request.folder.with_name(request.folder.name + '-multi'))} "
            "--multi-vector",
        )
    return store


def _open_writer(
    request: _Request,
    seal: Seal,
    previous: IndexManifest | None,
    store: ChunkStore,
    embed: Embed,
    timer: Timer,
) -> Writer:
    """Remove what an interrupted run left half replaced, and read what is there."""
    with timer.phase("store"):
        states, stale = document_states(store)
        firsts = {state.first_row for state in states.values()}
        journal = Journal.open(request.folder, rows=firsts.union(stale))
        store.delete_rows(stale)
    writer = Writer(
        store=store,
        journal=journal,
        config=request.config,
        embed=embed,
        domain=seal.domain,
        timer=timer,
        states=states,
        published_rows=previous.next_row if previous else 0,
    )
    writer.counts.n_healed_rows = len(stale)
    return writer


def _is_current(previous: IndexManifest, writer: Writer, config: IndexConfig) -> bool:
    """Whether the published index is what a build would publish now."""
    kind, _ = choose_kind(config, previous.n_chunks)
    return (
        not writer.counts.is_changed
        and writer.store.version == previous.store_version
        and (config.backend, kind) == (previous.backend, previous.ann)
        and (previous.analyser or f"{previous.seal.analyser}-1")
        == str(versioned(previous.seal.analyser))
    )


def _report(
    request: _Request, writer: Writer, manifest: IndexManifest, *, is_noop: bool
) -> BuildReport:
    counts = writer.counts
    return BuildReport(
        n_documents=counts.n_documents,
        n_added=counts.n_added,
        n_updated=counts.n_updated,
        n_deleted=counts.n_deleted,
        n_unchanged=counts.n_unchanged,
        n_resumed=counts.n_resumed,
        n_chunks=manifest.n_chunks,
        n_encoded=counts.n_encoded,
        n_truncated=writer.encoded.n_truncated,
        n_tokens_lost=writer.encoded.n_tokens_lost,
        generation=manifest.generation,
        is_noop=is_noop,
        vectors=f"{manifest.backend} {manifest.ann} ({manifest.reason})",
        recall_at_10=manifest.recall_at_10,
        size_bytes=folder_bytes(request.folder),
        seconds=writer.timer.totals(),
        warnings=list(writer.store.columns.warnings),
    )


def _announcer(
    writer: Writer, progress: Callable[[BuildProgress], None] | None
) -> Callable[[str], None] | None:
    """What tells `progress` where the build stands when a phase begins."""
    if progress is None:
        return None
    started = time.perf_counter()

    def announce(phase: str) -> None:
        seconds = time.perf_counter() - started
        counts = writer.counts
        rate = counts.n_chunks / max(seconds, 1e-9)
        progress(BuildProgress(phase, counts.n_documents, counts.n_chunks, rate, seconds))

    return announce
