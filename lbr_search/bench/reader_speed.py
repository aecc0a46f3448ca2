"""How fast sources are read and cut, by reader, beside how fast an encoder takes what they give."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbr_search.bench.reader_samples import WRITERS, write_sample
from lbr_search.config import ChunkConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import ResolvedSource, read_resolved, resolve_source
from lbr_search.errors import ConfigError
from lbr_search.protocols import Encoder, ReadOptions
from lbr_search.registry import nearest

N_DOCUMENTS = 1_000
FEW = {"html": 100, "pdf": 20, "docx": 30, "epub": 10, "jats": 150, "notebook": 300}
"""Documents of a sample where they are large or slow to make."""
N_ENCODED = 256
"""Chunks that the encoder is timed on, of the first source that has as many."""


@dataclass(frozen=True, slots=True)
class ReaderSpeed:
    """One source read once and cut once."""

    reader: str
    n_documents: int
    n_chunks: int
    source_bytes: int
    read_s: float
    chunk_s: float
    """Cutting alone, the encoder's tokenizer included."""
    n_rejected: int

    @property
    def documents_per_s(self) -> float:
        """Reading alone."""
        return self.n_documents / self.read_s

    @property
    def mb_per_s(self) -> float:
        """Megabytes of the files, packed as they are; reading alone."""
        return self.source_bytes / 1e6 / self.read_s

    @property
    def chunks_per_s(self) -> float:
        """Reading and cutting together: what an encoder can be fed with."""
        return self.n_chunks / (self.read_s + self.chunk_s)


@dataclass(frozen=True, slots=True)
class ReaderSpeeds:
    """What `measure_readers` found."""

    readers: list[ReaderSpeed]
    encoder: str
    encoded_per_s: float
    """Chunks; on one run of `N_ENCODED`."""


def measure_readers(
    encoder: Encoder, *, readers: Sequence[str] = (), sources: Sequence[str] = (), home: Path
) -> ReaderSpeeds:
    """Read and cut samples of each format, or sources of the user's own, and time both.

    Args:
        encoder: its tokenizer cuts, and its speed is what readers are compared with.
        readers: names of samples; none = all of them, unless `sources` are given.
        sources: as `ingest` takes them.
        home: folder of the shipped corpora.

    Raises:
        ConfigError: there is no sample for a reader.
        CorpusError: a source is not found or not readable.
    """
    unknown = [name for name in readers if name not in WRITERS]
    if unknown:
        raise ConfigError(
            f"there is no sample for the reader {unknown[0]!r}; there are: {', '.join(WRITERS)}.",
            nearest(unknown[0], list(WRITERS)),
        )
    config = ChunkConfig(chunk_tokens=min(ChunkConfig().chunk_tokens, encoder.max_tokens))
    found: list[ReaderSpeed] = []
    texts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lbr-search-") as folder:
        wanted = readers or (() if sources else tuple(WRITERS))
        for source in _sources(wanted, sources, Path(folder), home):
            speed, passages = _measure(source, encoder, config)
            found.append(speed)
            texts = texts if len(texts) >= N_ENCODED else passages
    return ReaderSpeeds(found, encoder.name, _encode_rate(encoder, texts))


def _sources(
    readers: Sequence[str], sources: Sequence[str], folder: Path, home: Path
) -> Iterator[ResolvedSource]:
    for name in readers:
        inner = folder / name
        inner.mkdir()
        path = write_sample(name, inner, n_documents=FEW.get(name, N_DOCUMENTS))
        yield resolve_source(str(path), home, reader=name)
    for source in sources:
        yield resolve_source(source, home)


def _measure(
    source: ResolvedSource, encoder: Encoder, config: ChunkConfig
) -> tuple[ReaderSpeed, list[str]]:
    rejects = Rejects(None)
    started = time.perf_counter()
    documents = list(read_resolved(source, options=ReadOptions(), rejects=rejects))
    read_s = time.perf_counter() - started
    started = time.perf_counter()
    chunks = chunk_documents(documents, token_spans=encoder.token_spans, config=config)
    n_chunks = 0
    passages: list[str] = []
    for chunk in chunks:
        n_chunks += 1
        if len(passages) < N_ENCODED:
            passages.append(chunk.passage)
    chunk_s = time.perf_counter() - started
    speed = ReaderSpeed(
        reader=source.reader,
        n_documents=len(documents),
        n_chunks=n_chunks,
        source_bytes=_size(source.path),
        read_s=read_s,
        chunk_s=chunk_s,
        n_rejected=rejects.n_rejected,
    )
    return speed, passages


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _encode_rate(encoder: Encoder, texts: Sequence[str]) -> float:
    if not texts:
        return 0.0
    encoder.encode_passages(list(itertools.islice(texts, 32)))  # the first call allocates
    started = time.perf_counter()
    encoder.encode_passages(texts)
    return len(texts) / (time.perf_counter() - started)


def markdown_table(speeds: ReaderSpeeds) -> str:
    """The table of README."""
    lines = [
        "| reader | documents/s | MB/s | chunks/s, read and cut | times the encoder |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.reader} | {one.documents_per_s:,.0f} | {one.mb_per_s:.1f} "
        f"| {one.chunks_per_s:,.0f} | {one.chunks_per_s / max(speeds.encoded_per_s, 1e-9):.0f} |"
        for one in speeds.readers
    ]
    return "\n".join(lines)
