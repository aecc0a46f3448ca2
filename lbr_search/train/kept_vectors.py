"""Vectors that a teacher gave, kept on disk by text: a slow one reads each text once."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from lbr_search.protocols import Encoder
from lbr_search.train.disk import disk_errors
from lbr_search.train.tokens import load_tables, save_tables
from lbr_search.types import Embeddings

PART_TEXTS = 1_024
"""New texts after which a part is written; what is lost at the end of a run is fewer."""
_KEY_BYTES = 16

log = logging.getLogger(__name__)


class KeptVectors:
    """An encoder in front of what it said before.

    What is read and what is made anew are both rounded to float16, so that a run that goes on
    learns from the same values.

    Args:
        encoder: asked for the texts that it has not read yet.
        folder: of the parts, safetensors files named by the encoder; made with the first of them.
    """

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self._encoder, self._folder = encoder, folder
        self._held: dict[bytes, NDArray[np.float16]] = {}
        self._new: list[bytes] = []
        for path in sorted(folder.glob(f"{encoder.fingerprint}-*.safetensors")):
            self._read(path)

    def encode_queries(self, texts: Sequence[str]) -> Embeddings:
        """(N, D) float32 of N texts, one at least."""
        return self._of(texts, b"query", self._encoder.encode_queries)

    def encode_passages(self, texts: Sequence[str]) -> Embeddings:
        """The same of passages: a text is kept apart for each use."""
        return self._of(texts, b"passage", self._encoder.encode_passages)

    def _of(
        self, texts: Sequence[str], use: bytes, ask: Callable[[list[str]], Embeddings]
    ) -> Embeddings:
        keys = [
            hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES, person=use).digest()
            for text in texts
        ]
        wanted = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._held}
        if wanted:
            made = ask(list(wanted.values())).astype(np.float16)
            self._held.update(zip(wanted, made, strict=True))
            self._new += wanted
            if len(self._new) >= PART_TEXTS:
                self._write()
        return np.stack([self._held[key] for key in keys]).astype(np.float32)

    def _read(self, path: Path) -> None:
        try:
            part = load_tables(path)
            keys, vectors = part["keys"], part["vectors"]
        except (SafetensorError, KeyError):
            log.warning("%s is damaged: its texts are read again", path)
            return
        self._held.update(zip(map(bytes, keys), vectors, strict=True))

    def _write(self) -> None:
        keys = np.frombuffer(b"".join(self._new), dtype=np.uint8).reshape(-1, _KEY_BYTES)
        vectors = np.stack([self._held[key] for key in self._new])
        # a name of its own: processes that train together write beside each other
        path = self._folder / f"{self._encoder.fingerprint}-{uuid.uuid4().hex}.safetensors"
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            save_tables({"keys": keys, "vectors": vectors}, path)
        self._new.clear()
