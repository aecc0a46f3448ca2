"""Sources -> one index: joins reading, chunking, encoding and the index's own build."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.config import ChunkConfig, IndexConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.corpus.compressed import SourceFile
from lbr_search.corpus.inventory import FileState, take_inventory
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import ResolvedSource, read_resolved, resolve_source
from lbr_search.encoder.load import DEFAULT_ENCODER, load_encoder
from lbr_search.errors import CorpusError
from lbr_search.index.build import REJECTED_FILE, build
from lbr_search.index.lock import single_writer
from lbr_search.index.manifest import load_seal
from lbr_search.index.mirror import index_folder, is_mirror
from lbr_search.index.report import BuildProgress, BuildReport
from lbr_search.protocols import Encoder, ReadOptions
from lbr_search.source_record import (
    SOURCES_FILE,
    SourceRecord,
    id_digest,
    load_forgotten,
    load_record,
    recorded,
    save_record,
    without_forgotten,
)
from lbr_search.types import Document

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How sources are read and what happens to what they no longer hold."""

    read: ReadOptions = field(default_factory=ReadOptions)
    """Names of the id, title and text columns; its domain overrides the source's own."""
    reader: str | None = None
    """Name in `registry.READERS`; None = found from the file."""
    home: Path = Path()
    """Folder in which shipped corpora are looked up by name."""
    delete_missing: bool = False
    """Remove documents of the index that the sources no longer hold."""
    strict: bool = False
    """Stop at the first line that cannot be read."""


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """Where an ingest stands."""

    build: BuildProgress
    share_read: float
    """Of the bytes of the sources, 0 to 1; files are read a little ahead of the encoder."""

    @property
    def seconds_left(self) -> float | None:
        """Of reading and encoding, at the rate so far; None while nothing can be said."""
        if not self.build.n_documents or not self.share_read:
            return None
        return self.build.seconds * (1 - self.share_read) / self.share_read


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one ingest did."""

    index: Path
    domain: str
    build: BuildReport
    """Counts, seconds by phase, sizes and the vector index chosen."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Lines that could not be read, by reason; they stand in `rejected_path`."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Files that a rule leaves out (generated, ignored, no reader ...), by reason; listed there."""
    noted: dict[str, int] = field(default_factory=dict)
    """Files that are read, but by a guess (encoding, language ...), by reason; listed there."""
    n_forgotten: int = 0
    """Documents that the sources hold and `forget` has removed for good."""
    rejected_path: Path | None = None
    notes: tuple[str, ...] = ()
    """Settings that were adjusted, in sentences."""


def build_index(  # noqa: PLR0913 - the front door: every option is a keyword with a default
    sources: Sequence[str | Path],
    index: str | Path,
    *,
    encoder: Encoder | str = DEFAULT_ENCODER,
    domain: str | None = None,
    chunk: ChunkConfig | None = None,
    config: IndexConfig | None = None,
    options: IngestOptions | None = None,
    progress: Callable[[IngestProgress], None] | None = None,
) -> IngestReport:
    """Read, chunk, encode and index; unchanged documents are left alone.

    The sources are read once, while their chunks are encoded. Where that fails half way, what was
    published before stays as it is; the next ingest goes on from what was encoded.

    Args:
        sources: files, folders or names of shipped corpora.
        index: folder of the index, or its address on S3, made or brought up to date.
        encoder: an encoder or its spec.
        domain: given to every document; None = what the source says of itself.
        chunk: how documents are cut; longer than the encoder reads is lowered, with a note.
        config: backend and vector index.
        options: columns, reader, home, deletion and strictness.
        progress: called at each phase and encoded batch.

    Raises:
        CorpusError: a source is missing, empty or unreadable, or two sources share an id.
        EncoderError, MissingExtraError: the encoder cannot be loaded.
        IndexFormatError: the folder is locked, read-only or damaged.
        SealError: the index was built by another encoder.
    """
    options = options or IngestOptions()
    if domain is not None:
        options = dataclasses.replace(
            options, read=dataclasses.replace(options.read, domain=domain)
        )
    resolved = [
        resolve_source(str(source), options.home, reader=options.reader)
        for source in _given(sources)
    ]
    opened = load_encoder(encoder) if isinstance(encoder, str) else encoder
    chunk, notes = fit_chunks(chunk or ChunkConfig(), opened)
    index = index_folder(index)
    domain = options.read.domain or _shared_domain(resolved)
    # from the start: a second writer is refused before it reads, and touches no record of this one
    is_begun = load_seal(index) is not None or is_mirror(index)
    with single_writer(index) if is_begun else nullcontext():
        forgotten = load_forgotten(index)
        states = [without_forgotten(take_inventory(source, {}), forgotten) for source in resolved]
        origin: dict[str, int] = {}
        with Rejects(index / REJECTED_FILE, strict=options.strict) as rejects:
            documents = _read_all(resolved, origin, options=options, rejects=rejects)
            kept = (d for d in documents if not forgotten or id_digest(d.doc_id) not in forgotten)
            chunks = chunk_documents(kept, token_spans=opened.token_spans, config=chunk)
            report = build(
                chunks,
                encoder=opened,
                folder=index,
                config=config or IndexConfig(),
                domain=domain,
                delete_missing=options.delete_missing,
                progress=_with_share(progress, states),
            )
        n_read = len(origin)
        if forgotten:
            origin = {d: n for d, n in origin.items() if id_digest(d) not in forgotten}
        _record(index, resolved, states, origin, chunk=chunk, options=options)
    return IngestReport(
        index=index,
        domain=domain,
        build=report,
        rejected=rejects.by_reason,
        left_out=rejects.skipped,
        noted=rejects.noted,
        n_forgotten=n_read - len(origin),
        rejected_path=None if rejects.is_empty else rejects.path,
        notes=tuple(notes),
    )


def fit_chunks(chunk: ChunkConfig, encoder: Encoder) -> tuple[ChunkConfig, list[str]]:
    """Lower chunk settings to what the encoder reads whole, and say so.

    Whole documents (0 tokens) stay whole: the encoder cuts them and counts what it loses.
    """
    if chunk.chunk_tokens <= encoder.max_tokens:
        return chunk, []
    tokens = encoder.max_tokens
    overlap = min(chunk.overlap, tokens // 2)
    note = (
        f"chunks hold {tokens} tokens instead of {chunk.chunk_tokens}: {encoder.name} reads no more"
    )
    if overlap != chunk.overlap:
        note += f"; they overlap by {overlap} instead of {chunk.overlap}"
    return ChunkConfig(chunk_tokens=tokens, overlap=overlap), [note]


def _record(
    index: Path,
    resolved: Sequence[ResolvedSource],
    states: Sequence[Mapping[str, FileState]],
    origin: Mapping[str, int],
    *,
    chunk: ChunkConfig,
    options: IngestOptions,
) -> None:
    """Write down what the index holds from where, for `sync`; earlier sources stay on record."""
    ids: list[list[str]] = [[] for _ in resolved]
    for doc_id, number in origin.items():
        ids[number].append(doc_id)
    new = [
        recorded(source, options.read, chunk, files=files, ids=documents)
        for source, files, documents in zip(resolved, states, ids, strict=True)
    ]
    record = SourceRecord([])
    if not options.delete_missing and (index / SOURCES_FILE).is_file():
        record.sources = load_record(index).sources
    record.replace(new)
    save_record(index, record)


def _with_share(
    progress: Callable[[IngestProgress], None] | None,
    states: Sequence[Mapping[str, FileState]],
) -> Callable[[BuildProgress], None] | None:
    if progress is None:
        return None
    n_bytes = sum(state.size_bytes for files in states for state in files.values())
    begun = SourceFile.n_bytes_read

    def tell(state: BuildProgress) -> None:
        # kinds of files are found by their first bytes, so a little is counted twice
        share = (SourceFile.n_bytes_read - begun) / max(n_bytes, 1)
        progress(IngestProgress(state, min(share, 1.0)))

    return tell


def _given(sources: Sequence[str | Path]) -> Sequence[str | Path]:
    if not sources:
        raise CorpusError(
            "no source was given.", "name a file, a folder or a shipped corpus to ingest"
        )
    return sources


def _shared_domain(resolved: Sequence[ResolvedSource]) -> str:
    """The domain of all sources, or none where they differ."""
    domains = {source.domain for source in resolved}
    return domains.pop() if len(domains) == 1 else ""


def _read_all(
    resolved: Sequence[ResolvedSource],
    origin: dict[str, int],
    *,
    options: IngestOptions,
    rejects: Rejects,
) -> Iterator[Document]:
    """The documents of all sources, with the checks that need to see every one of them.

    `origin` is filled with the number of the source of each id.
    """
    for number, source in enumerate(resolved):
        n_before = len(origin)
        for document in read_resolved(source, options=options.read, rejects=rejects):
            first = origin.setdefault(document.doc_id, number)
            if first != number:
                raise CorpusError(
                    f"two sources hold a document {document.doc_id!r}:\n"
                    f"  {resolved[first].path}\n  {source.path}",
                    "give each source its own --index, or make the ids differ",
                )
            yield document
        if len(origin) == n_before:
            raise CorpusError(
                f"{source.path} holds no document that can be read"
                f" ({rejects.n_rejected} lines rejected).",
                f"correct the lines listed in {rejects.path}"
                if rejects.n_rejected
                else "check that it is the file or folder you meant",
            )
    unreadable = {reason: n for reason, n in rejects.by_reason.items() if reason != "empty text"}
    if options.delete_missing and unreadable:
        raise CorpusError(
            f"--delete with {sum(unreadable.values())} unreadable lines would remove the documents"
            " that those lines hold; nothing was changed.",
            f"correct the lines listed in {rejects.path}, or ingest without --delete",
        )
