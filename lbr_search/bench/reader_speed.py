"""How fast sources are read and cut, by reader, beside how fast an encoder takes what they give.

Seconds are of processor time, summed over threads and child processes: what one core would need,
whatever else the machine does.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbr_search.bench.reader_samples import WRITERS, write_sample
from lbr_search.config import ChunkConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.corpus.guarded import close_idle
from lbr_search.corpus.language import language_of
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import ResolvedSource, read_resolved, resolve_source
from lbr_search.errors import ConfigError
from lbr_search.protocols import Encoder, ReadOptions
from lbr_search.registry import nearest

N_DOCUMENTS = 1_000
FEW = {"html": 400, "pdf": 60, "docx": 200, "epub": 60, "jats": 150, "notebook": 300}
"""Documents of a sample where they are large or slow to make."""
N_ENCODED = 48
"""Chunks of each source that the encoder is timed on, right after the source was read."""
_SMALLEST_S = 1e-6


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
    encoded_per_s: float
    """Chunks of this source that the encoder takes."""

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

    @property
    def times_encoder(self) -> float:
        """How many encoders the reader could feed."""
        return self.chunks_per_s / max(self.encoded_per_s, 1e-9)


def measure_readers(
    encoder: Encoder, *, readers: Sequence[str] = (), sources: Sequence[str] = (), home: Path
) -> list[ReaderSpeed]:
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
    encoder.encode_passages(["the first call allocates"])
    language_of("a" * 600)  # the first call reads a model
    with tempfile.TemporaryDirectory(prefix="lbr-search-") as folder:
        wanted = readers or (() if sources else tuple(WRITERS))
        return [
            _measure(source, encoder, config)
            for source in _sources(wanted, sources, Path(folder), home)
        ]


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


def _measure(source: ResolvedSource, encoder: Encoder, config: ChunkConfig) -> ReaderSpeed:
    rejects = Rejects(None)
    close_idle()  # the time of a child counts when it has ended
    started = _processor_s()
    documents = list(read_resolved(source, options=ReadOptions(), rejects=rejects))
    close_idle()
    read_s = _processor_s() - started
    started = _processor_s()
    chunks = chunk_documents(documents, token_spans=encoder.token_spans, config=config)
    passages = [chunk.passage for chunk in chunks]
    chunk_s = _processor_s() - started
    sample = passages[:: max(1, len(passages) // N_ENCODED)][:N_ENCODED]
    started = _processor_s()
    encoder.encode_passages(sample)
    encode_s = _processor_s() - started
    return ReaderSpeed(
        reader=source.reader,
        n_documents=len(documents),
        n_chunks=len(passages),
        source_bytes=_size(source.path),
        read_s=max(read_s, _SMALLEST_S),
        chunk_s=chunk_s,
        n_rejected=rejects.n_rejected,
        encoded_per_s=len(sample) / max(encode_s, _SMALLEST_S),
    )


def _processor_s() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()  # in hundredths: fine enough for children, not for one small file
    return time.process_time() + times.children_user + times.children_system


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def markdown_table(speeds: Sequence[ReaderSpeed]) -> str:
    """The table of README."""
    lines = [
        "| reader | documents/s | MB/s | chunks/s, read and cut | times the encoder |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.reader} | {one.documents_per_s:,.0f} | {one.mb_per_s:.1f} "
        f"| {one.chunks_per_s:,.0f} | {one.times_encoder:.0f} |"
        for one in speeds
    ]
    return "\n".join(lines)
