"""Chunks -> store: what is new or changed is encoded and committed, whole documents at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lbr_search.config import IndexConfig
from lbr_search.errors import CorpusError, EncoderError
from lbr_search.index.documents import DocumentState, signature
from lbr_search.index.generation import Timer
from lbr_search.index.journal import Journal
from lbr_search.index.multi_vectors import MultiVectors, joined
from lbr_search.index.store import ChunkStore
from lbr_search.protocols import EncodeReport
from lbr_search.types import Chunk, Embeddings

Row = tuple[Chunk, Embeddings | None]
"""A chunk, and its vector (D,) where it is known already."""
Encoded = tuple[Embeddings, MultiVectors | None]
"""(N, D) vectors of chunks, and their compressed ones where the index keeps them."""
Embed = Callable[[Sequence[Chunk], EncodeReport], Encoded]
COMMIT_SECONDS = 30.0
"""A slow encoder commits at least this often, so that a kill loses at most so much work."""
COMMIT_BYTES = 128_000_000
"""Vectors that are committed at once even where they are few rows: they wait in memory."""

BATCH_CHARACTERS = 32_000_000
"""Text that is encoded, and committed, at once even where it is few chunks."""


@dataclass(slots=True)
class Counts:
    """What a build has done so far, in documents unless the name says otherwise."""

    n_documents: int = 0
    n_added: int = 0
    n_updated: int = 0
    n_unchanged: int = 0
    n_resumed: int = 0
    n_deleted: int = 0
    n_healed_rows: int = 0
    n_chunks: int = 0
    n_encoded: int = 0

    @property
    def is_changed(self) -> bool:
        """Whether the store is another than before."""
        return bool(self.n_added or self.n_updated or self.n_deleted or self.n_healed_rows)


@dataclass(slots=True)
class Writer:
    """Takes documents as lists of rows. `finish` commits the rest."""

    store: ChunkStore
    journal: Journal
    config: IndexConfig
    embed: Embed
    domain: str
    timer: Timer
    states: dict[str, DocumentState]
    published_rows: int
    """Row ids below this one belong to the published index; others to a run that was cut off."""
    counts: Counts = field(default_factory=Counts)
    encoded: EncodeReport = field(default_factory=EncodeReport)
    _seen: set[str] = field(default_factory=set)
    _waiting: list[Row] = field(default_factory=list)
    _ready: list[tuple[list[Chunk], Encoded, EncodeReport]] = field(default_factory=list)
    _n_characters: int = 0
    """Of what is not committed."""
    _old_rows: list[int] = field(default_factory=list)
    _committed_at: float = field(default_factory=time.monotonic)

    def offer(self, document: list[Row]) -> None:
        """Take one document: skip it when the store has it, else encode and commit it in turn.

        Raises:
            CorpusError: the document came before in this ingest.
            EncoderError: the encoder gave a vector that is not finite.
        """
        chunks = [chunk for chunk, _ in document]
        doc_id = chunks[0].doc_id
        if doc_id in self._seen:
            raise CorpusError(
                f"document {doc_id!r} occurs twice in one ingest.",
                "give each document an id of its own, or ingest the sources one after the other",
            )
        self._seen.add(doc_id)
        self.counts.n_documents += 1
        self.counts.n_chunks += len(chunks)
        doc_hash = chunks[0].doc_hash or content_hash(chunks)
        known = self.states.get(doc_id)
        spans = [(chunk.start, chunk.end) for chunk in chunks]
        if known is not None and known.signature == signature(doc_hash, spans):
            is_resumed = known.first_row >= self.published_rows
            self.counts.n_resumed += is_resumed
            self.counts.n_unchanged += not is_resumed
            return
        if known is None:
            self.counts.n_added += 1
        else:
            self.counts.n_updated += 1
            self._old_rows.extend(known.rows)
        self._waiting.extend(
            (complete(chunk, doc_hash=doc_hash, domain=self.domain), vector)
            for chunk, vector in document
        )
        self._n_characters += sum(len(chunk.text) for chunk in chunks)
        is_large = self._n_characters >= BATCH_CHARACTERS
        if len(self._waiting) >= self.config.encode_batch or is_large:
            self._encode()

    def finish(self, *, delete_missing: bool, delete: Collection[str] = ()) -> None:
        """Commit what is left; remove documents that were not offered: all of them, or some.

        Raises:
            CorpusError: no document would be left.
        """
        self._encode()
        self._commit()
        candidates = self.states if delete_missing else [d for d in delete if d in self.states]
        missing = [doc_id for doc_id in candidates if doc_id not in self._seen]
        if not missing:
            return
        if not self._seen and len(missing) == len(self.states):
            raise CorpusError(
                "nothing would be left of the index: every document would be removed.",
                "remove the index folder itself, or ingest other sources into it",
            )
        with self.timer.phase("store"):
            self.store.delete_rows([row for name in missing for row in self.states[name].rows])
        self.counts.n_deleted += len(missing)

    def _encode(self) -> None:
        for start in range(0, len(self._waiting), self.config.encode_batch):
            rows = self._waiting[start : start + self.config.encode_batch]
            report = EncodeReport()
            with self.timer.phase("encode"):
                encoded = self._vectors(rows, report)
            self._ready.append(([chunk for chunk, _ in rows], encoded, report))
            self.counts.n_encoded += len(rows)
            self.encoded.n_truncated += report.n_truncated
            self.encoded.n_tokens_lost += report.n_tokens_lost
        self._waiting.clear()
        n_ready = sum(len(chunks) for chunks, _, _ in self._ready)
        is_due = time.monotonic() - self._committed_at > COMMIT_SECONDS
        n_bytes = sum(_n_bytes(encoded) for _, encoded, _ in self._ready)
        is_large = self._n_characters >= BATCH_CHARACTERS or n_bytes >= COMMIT_BYTES
        if n_ready >= self.config.commit_rows or is_due or is_large:
            self._commit()

    def _vectors(self, rows: Sequence[Row], report: EncodeReport) -> Encoded:
        given = [vector for _, vector in rows if vector is not None]
        start = time.perf_counter()
        if len(given) == len(rows):
            vectors, multi = np.stack(given), None
        else:
            vectors, multi = self.embed([chunk for chunk, _ in rows], report)
        report.seconds = time.perf_counter() - start
        if not np.isfinite(vectors.sum(dtype=np.float64)) and not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise EncoderError(
                f"the encoder gave NaN or infinity for chunk {rows[bad][0].chunk_id!r}.",
                "check the encoder: lbr-search doctor",
            )
        return vectors, multi

    def _commit(self) -> None:
        """One commit of whole documents; then the rows that they replace go."""
        with self.timer.phase("store"):
            if self._ready:
                chunks = [chunk for part, _, _ in self._ready for chunk in part]
                vectors = np.concatenate([part for _, (part, _), _ in self._ready])
                multi = [part for _, (_, part), _ in self._ready if part is not None]
                first_row = self.journal.announce(len(chunks), self._announced_counts())
                kept = joined(multi) if multi else None
                self.store.add(chunks, vectors, first_row=first_row, multi=kept)
                self._ready.clear()
            if self._old_rows:
                self.store.delete_rows(self._old_rows)
                self._old_rows.clear()
        self._n_characters = 0
        self._committed_at = time.monotonic()

    def _announced_counts(self) -> dict[str, float]:
        reports = [report for _, _, report in self._ready]
        return {
            "n_encoded": sum(len(chunks) for chunks, _, _ in self._ready),
            "n_truncated": sum(report.n_truncated for report in reports),
            "n_tokens_lost": sum(report.n_tokens_lost for report in reports),
            "encode_seconds": sum(report.seconds for report in reports),
        }


def _n_bytes(encoded: Encoded) -> int:
    vectors, multi = encoded
    return vectors.nbytes + (0 if multi is None else multi.codes.nbytes)


def group_documents(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows of one document after the other.

    Raises:
        CorpusError: the chunks of a document are not numbered 0, 1, 2, ... in order.
    """
    document: list[Row] = []
    for row in rows:
        chunk = row[0]
        if document and chunk.doc_id != document[0][0].doc_id:
            yield document
            document = []
        if chunk.chunk_no != len(document):
            raise CorpusError(
                f"chunk {chunk.chunk_id} comes where chunk {len(document)} of the document should.",
                "give the chunks of a document together and in order, as chunk_documents does",
            )
        document.append(row)
    if document:
        yield document


def complete(chunk: Chunk, *, doc_hash: str, domain: str) -> Chunk:
    """`chunk` with the hash of its document, and the domain of the index where it has none."""
    if chunk.doc_hash and (chunk.domain or not domain):
        return chunk
    return replace(chunk, doc_hash=doc_hash, domain=chunk.domain or domain)


def content_hash(chunks: Sequence[Chunk]) -> str:
    """Stands in for the document's hash where chunks were made without a document."""
    content = [(c.title, c.text, c.domain, sorted(c.metadata.items())) for c in chunks]
    encoded = repr(content).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
