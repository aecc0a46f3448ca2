"""The indexes that a searcher reads, each with the encoder that built it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search.encoder.load import load_encoder
from lbr_search.errors import (
    EncoderError,
    FilterError,
    IndexFormatError,
    LbrError,
    MissingExtraError,
)
from lbr_search.index.opened import OpenedIndex, open_index
from lbr_search.protocols import CompressingEncoder, Encoder
from lbr_search.search.settings import Given, Settings, settings_of
from lbr_search.types import Compressed, Embeddings

log = logging.getLogger(__name__)


class EncoderPool:
    """Encoders by their spec, opened once and used by one thread at a time.

    Tokenizers keep their truncation settings inside, so two threads must not share a call.
    """

    def __init__(self) -> None:
        self._encoders: dict[str, Encoder] = {}
        self._lock = threading.RLock()

    def add(self, encoder: Encoder) -> None:
        """Use `encoder` wherever its spec is asked for."""
        self._encoders[encoder.spec] = encoder

    def get(self, spec: str, fingerprint: str) -> Encoder:
        """The encoder with this fingerprint, else the one that `spec` names now."""
        with self._lock:
            for encoder in self._encoders.values():
                if encoder.fingerprint == fingerprint:
                    return encoder
            if spec not in self._encoders:
                self._encoders[spec] = load_encoder(spec)
            return self._encoders[spec]

    @contextmanager
    def use(self) -> Iterator[None]:
        """Alone with the encoders of this pool for a block."""
        with self._lock:
            yield

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> Embeddings:
        """(N, D) query vectors."""
        with self._lock:
            return encoder.encode_queries(texts)

    def compress(self, encoder: CompressingEncoder, texts: Sequence[str]) -> Compressed:
        """(N, k, D) of queries; `types.pool` makes of them what `encode` gives."""
        with self._lock:
            return encoder.compress_queries(texts)


@dataclass(slots=True)
class Source:
    """One opened index. The encoder is loaded when a dense search first asks for it."""

    name: str
    path: Path
    opened: OpenedIndex
    settings: Settings
    encoder: Encoder | None = None
    problem: LbrError | None = None
    """Why the dense leg is missing, once that has been found out."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, mode: str, pool: EncoderPool) -> None:
        """Make the legs of `mode` ready.

        In hybrid mode an encoder that cannot be loaded leaves the lexical leg alone, and
        `problem` says so; an encoder that loads but is not the one of the index never does.

        Raises:
            SealError: the encoder named by the index is not the one that built it.
            EncoderError, MissingExtraError: mode is dense and the encoder cannot be loaded.
        """
        if mode == "lexical" or self.encoder is not None:
            return
        with self.lock:
            if self.encoder is None and self.problem is None:
                self._load_encoder(pool)
        if mode == "dense" and self.problem is not None:
            raise self.problem

    def _load_encoder(self, pool: EncoderPool) -> None:
        seal = self.opened.manifest.seal
        try:
            encoder = pool.get(seal.encoder_spec, seal.fingerprint)
        except (EncoderError, MissingExtraError) as error:
            self.problem = error
            log.warning("%s: the dense leg is missing: %s", self.path, error.message)
            return
        self.opened = open_index(self.path, encoder=encoder)
        self.encoder = encoder


def allowed_rows(
    sources: Sequence[Source], expression: str | None, *, warn: Callable[[str], None]
) -> list[NDArray[np.int64] | None]:
    """Rows of each source that pass a filter; one without its columns has none, and is named.

    Raises:
        FilterError: the filter fits no source.
    """
    if expression is None:
        return [None] * len(sources)
    allowed: list[NDArray[np.int64] | None] = []
    refused: list[FilterError] = []
    for source in sources:
        try:
            allowed.append(source.opened.filter(expression))
        except FilterError as error:
            refused.append(error)
            allowed.append(np.empty(0, dtype=np.int64))
            if len(refused) == len(sources):
                raise
            warn(f"{source.name}: left out, the filter does not fit: {error.message}")
    return allowed


def unique_names(paths: Sequence[Path]) -> list[str]:
    """What hits call each index: the folder's name, or the whole path where two share a name.

    Raises:
        IndexFormatError: an index is given twice.
    """
    resolved = [path.resolve() for path in paths]
    twice = next((path for path in resolved if resolved.count(path) > 1), None)
    if twice is not None:
        raise IndexFormatError(f"the index {twice} is given twice.", "give each index once")
    names = [path.name for path in resolved]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, resolved, strict=True)
    ]


def open_source(path: Path, *, name: str, encoder: Encoder | None, given: Given) -> Source:
    """Open one index folder; with an encoder its seal is checked at once.

    Raises:
        IndexFormatError: no index there, or a damaged one.
        SealError: built by another encoder.
        ConfigError: a setting that is given, or its `search.toml`, is wrong.
    """
    opened = open_index(path, encoder=encoder)
    seal = opened.manifest.seal
    settings = settings_of(
        path, fingerprint=seal.fingerprint, given=given, mean_chars=lambda: opened.mean_chars
    )
    return Source(name, path, opened, settings, encoder)
