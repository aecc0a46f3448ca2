"""What speed is measured on: English texts and vectors made from a seed, nothing downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lbr_search.protocols import CompressingEncoder, EncodeReport
from lbr_search.types import Chunk, Compressed, Embeddings, pool

N_CENTRES = 20_000
"""Topics that synthetic vectors gather around."""
CENTRE_DIM = 48
"""Directions in which topics differ; text encoders use a few dozen of their dimensions."""
SPREAD = 0.5
"""Length of a vector's own part beside its topic's, which has length 1."""
_CENTRE_SEED = 1


def make_texts(n_texts: int, *, words: int, seed: int = 0) -> list[str]:
    """English texts of so many words: windows of the documentation that Python carries.

    Args:
        n_texts: how many.
        words: of each, split at white space.
        seed: of the places that the windows are cut from.
    """
    from pydoc_data.topics import topics

    pool = " ".join(topics[name] for name in sorted(topics)).split()
    starts = np.random.default_rng(seed).integers(0, len(pool) - words, size=n_texts)
    return [" ".join(pool[start : start + words]) for start in starts]


def make_chunks(texts: Sequence[str], *, first: int = 0) -> list[Chunk]:
    """One chunk a text, of documents numbered from `first`."""
    return [
        Chunk(
            doc_id=f"d{number}",
            chunk_no=0,
            text=text,
            start=0,
            end=len(text),
            doc_hash=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        )
        for number, text in enumerate(texts, start=first)
    ]


def vector_blocks(
    n_rows: int, *, dim: int, block: int = 50_000, seed: int = 0
) -> Iterator[Embeddings]:
    """Synthetic vectors in blocks of (up to `block`, D), rows of length 1.

    A row is a topic centre, out of `N_CENTRES` in a subspace of `CENTRE_DIM` dimensions, plus its
    own direction. Block i depends on the seed and i alone, so blocks can be made again.
    """
    centres = _centres(dim)
    for number, start in enumerate(range(0, n_rows, block)):
        generator = np.random.default_rng([seed, number])
        n_here = min(block, n_rows - start)
        own = generator.standard_normal((n_here, dim), dtype=np.float32)
        own *= SPREAD / np.sqrt(np.float32(dim))
        own += centres[generator.integers(0, len(centres), size=n_here)]
        yield own / np.linalg.norm(own, axis=1, keepdims=True)


def make_vectors(n_rows: int, *, dim: int, seed: int = 0) -> Embeddings:
    """(N, D) of `vector_blocks` in one array."""
    blocks = list(vector_blocks(n_rows, dim=dim, seed=seed))
    return np.concatenate(blocks) if blocks else np.empty((0, dim), dtype=np.float32)


def _centres(dim: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(_CENTRE_SEED)
    inner = min(CENTRE_DIM, dim)
    axes, _ = np.linalg.qr(generator.standard_normal((dim, inner)))
    points = generator.standard_normal((N_CENTRES, inner))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    centres: NDArray[np.float32] = (points @ axes.T).astype(np.float32)
    return centres


class SyntheticEncoder:
    """Vectors from a text's hash, in microseconds: what is timed around it is not encoding."""

    def __init__(self, dim: int) -> None:
        self.name = self.spec = f"synthetic-{dim}"
        self.dim = dim
        self.max_tokens = 1_000_000
        self.fingerprint = hashlib.blake2b(self.name.encode(), digest_size=16).hexdigest()
        self._pool = make_vectors(1024, dim=dim, seed=7)

    def encode_queries(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D): the same text has the same vector; 1,024 different ones."""
        rows = [
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
            for text in texts
        ]
        if report is not None:
            report.n_texts += len(texts)
        return self._pool[np.asarray(rows, dtype=np.int64) % len(self._pool)]

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """As queries."""
        return self.encode_queries(texts, report=report)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """The whole text is one token."""
        return [(0, len(text))] if text else []


class SyntheticPassages:
    """An encoder whose queries are encoded and whose passages have made-up vectors.

    So that search and reranking can be timed on more passages than there is time to encode; what
    reranking costs does not depend on what the vectors say.
    """

    def __init__(self, encoder: CompressingEncoder) -> None:
        self._encoder = encoder
        self.name, self.spec = encoder.name, f"synthetic passages of {encoder.spec}"
        self.dim, self.max_tokens = encoder.dim, encoder.max_tokens
        self.n_compression_tokens = encoder.n_compression_tokens
        self.fingerprint = hashlib.blake2b(self.spec.encode(), digest_size=16).hexdigest()
        self.encode_queries = encoder.encode_queries
        self.compress_queries = encoder.compress_queries
        self.query_log_likelihood = encoder.query_log_likelihood
        self.generate = encoder.generate
        self.token_spans = encoder.token_spans
        self._parts = make_vectors(1024, dim=self.dim, seed=7)

    def compress_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Compressed:
        """(N, k, D): the same text has the same vectors, drawn from 1,024."""
        if report is not None:
            report.n_texts += len(texts)
        rows = np.empty((len(texts), self.n_compression_tokens), dtype=np.int64)
        for number, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
            generator = np.random.default_rng(seed)
            rows[number] = generator.integers(len(self._parts), size=rows.shape[1])
        return self._parts[rows]

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D), the means of those."""
        return pool(self.compress_passages(texts, report=report))
