"""An encoder that knows the queries of a suite: encoded once, kept on disk, with what it took.

A second benchmark thus encodes no query. Its costs must hold the encoding all the same, so the time
that it took when the vectors were made is kept beside them and added wherever they are used; as it
is added in the first run, too, both have the same costs.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search import __version__
from lbr_search.bench.energy import gpu_energy
from lbr_search.config import fingerprint
from lbr_search.protocols import CompressingEncoder, Encoder, EncodeReport
from lbr_search.search.pipeline import QUERY_BATCH
from lbr_search.types import Compressed, Embeddings

LATENCY_QUERIES = 200
Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, slots=True)
class Made:
    """Vectors of all queries, and what making them took."""

    vectors: Vectors
    """(N, D) or (N, k, D), in the order of the queries."""
    seconds: float
    """All of them, in batches as a search makes them."""
    alone: NDArray[np.float64]
    """(L,) seconds of each text of `latency_texts`, one at a time."""
    joules: float = 0.0
    """What the GPUs took for all of them; 0 where nothing says it."""


@dataclass(slots=True)
class KnownQueries:
    """An `Encoder` that answers for the queries of a suite from what was made before."""

    encoder: Encoder
    texts: Sequence[str]
    folder: Path
    is_fresh: bool = False
    """Made anew, whatever lies in the folder."""
    warnings: list[str] = field(default_factory=list)
    owed_s: float = 0.0
    """Seconds that the answers given so far took when they were made."""
    owed_joules: float = 0.0
    """Likewise of the GPUs' energy, but for texts encoded alone."""
    _made: dict[str, Made] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)
    _alone: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {text: place for place, text in enumerate(self.texts)}
        asked_alone = dict.fromkeys(latency_texts(self.texts))
        self._alone = {text: place for place, text in enumerate(asked_alone)}

    @property
    def name(self) -> str:
        """Of the encoder."""
        return self.encoder.name

    @property
    def spec(self) -> str:
        """Of the encoder."""
        return self.encoder.spec

    @property
    def dim(self) -> int:
        """Vector size D."""
        return self.encoder.dim

    @property
    def max_tokens(self) -> int:
        """Of the encoder."""
        return self.encoder.max_tokens

    @property
    def fingerprint(self) -> str:
        """Of the encoder."""
        return self.encoder.fingerprint

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """As the encoder."""
        return self.encoder.token_spans(text)

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """As the encoder."""
        return self.encoder.encode_passages(texts, report=report)

    def encode_queries(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D); the encoder is asked only where a text is none of the suite's."""
        if report is not None or not self._knows(texts):
            return self.encoder.encode_queries(texts, report=report)
        return self._answer("vectors", texts, self.encoder.encode_queries)

    def _knows(self, texts: Sequence[str]) -> bool:
        return all(text in self._places for text in texts)

    def _answer(self, kind: str, texts: Sequence[str], encode: Encode) -> Vectors:
        if kind not in self._made:
            self._made[kind] = self._load(kind) or self._make(kind, encode)
        made = self._made[kind]
        places = [self._places[text] for text in texts]
        if len(texts) == 1 and texts[0] in self._alone:
            self.owed_s += float(made.alone[self._alone[texts[0]]])
        else:
            share = len(places) / len(self.texts)
            self.owed_s += made.seconds * share
            self.owed_joules += made.joules * share
        return made.vectors[places]

    def _make(self, kind: str, encode: Encode) -> Made:
        encode(self.texts[:1])  # warms up
        with gpu_energy() as energy:
            parts, started = [], time.perf_counter()
            for first in range(0, len(self.texts), QUERY_BATCH):
                parts.append(encode(self.texts[first : first + QUERY_BATCH]))
            seconds = time.perf_counter() - started
        alone = []
        for text in self._alone:
            started = time.perf_counter()
            encode([text])
            alone.append(time.perf_counter() - started)
        vectors = np.concatenate(parts)
        made = Made(vectors, seconds, np.asarray(alone), energy.joules or 0.0)
        self._save(kind, made)
        return made

    def _file(self, kind: str) -> Path:
        digest = hashlib.blake2b(digest_size=16)
        for text in self.texts:
            digest.update(len(text.encode()).to_bytes(8, "little") + text.encode())
        parts = {"encoder": self.fingerprint, "texts": digest.hexdigest(), "version": __version__}
        return self.folder / f"{fingerprint({**parts, 'kind': kind})[:24]}.npz"

    def _load(self, kind: str) -> Made | None:
        file = self._file(kind)
        if self.is_fresh or not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as held:
                seconds, used = float(held["seconds"]), float(held["joules"])
                made = Made(held["vectors"], seconds, held["alone"], used)
            if (len(made.vectors), len(made.alone)) != (len(self.texts), len(self._alone)):
                raise ValueError(f"{len(made.vectors)} vectors for {len(self.texts)} queries")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            self.warnings.append(
                f"the queries were encoded anew for {self.name}: {file.name} cannot be read "
                f"({type(error).__name__}: {error})"
            )
            return None
        return made

    def _save(self, kind: str, made: Made) -> None:
        """Under another name, then renamed: a file that stands is whole."""
        file = self._file(kind)
        unfinished = file.with_name(f".{file.stem}.{os.getpid()}.npz")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez(unfinished, **asdict(made))
            unfinished.replace(file)
        except OSError as error:
            self.warnings.append(f"the vectors of the queries are not kept: {error}")
        finally:
            unfinished.unlink(missing_ok=True)


class KnownCompressedQueries(KnownQueries):
    """The same of an encoder that keeps k vectors of a text."""

    encoder: CompressingEncoder

    @property
    def n_compression_tokens(self) -> int:
        """K."""
        return self.encoder.n_compression_tokens

    def compress_queries(self, texts: Sequence[str]) -> Compressed:
        """(N, k, D); the encoder is asked only where a text is none of the suite's."""
        if not self._knows(texts):
            return self.encoder.compress_queries(texts)
        return self._answer("compressed", texts, self.encoder.compress_queries)

    def compress_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Compressed:
        """As the encoder."""
        return self.encoder.compress_passages(texts, report=report)

    def query_log_likelihood(self, query: str, compressed: Compressed) -> NDArray[np.float32]:
        """As the encoder."""
        return self.encoder.query_log_likelihood(query, compressed)

    def generate(self, compressed: Compressed, *, max_tokens: int) -> list[str]:
        """As the encoder."""
        return self.encoder.generate(compressed, max_tokens=max_tokens)


def know_queries(
    encoder: Encoder, texts: Sequence[str], *, folder: Path, is_fresh: bool
) -> KnownQueries:
    """`encoder`, answering for `texts` from what lies in `folder`; made and kept where it is not.

    Args:
        encoder: any.
        texts: the queries of a suite, one or more.
        folder: of the files.
        is_fresh: make all anew.
    """
    is_compressing = isinstance(encoder, CompressingEncoder)
    kind = KnownCompressedQueries if is_compressing else KnownQueries
    return kind(encoder, texts, folder, is_fresh)


def latency_texts(texts: Sequence[str]) -> Sequence[str]:
    """Evenly spaced queries whose latency is measured, at most `LATENCY_QUERIES`."""
    return texts[:: max(1, -(-len(texts) // LATENCY_QUERIES))]
