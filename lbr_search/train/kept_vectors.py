"""Vectors that a teacher gave, kept on disk by text: a slow one reads each text once."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lbr_search.types import Embeddings

PART_TEXTS = 1_024
"""New texts after which a part is written; what is lost at the end of a run is fewer."""
_KEY_BYTES = 16

Ask = Callable[[list[str]], Embeddings]


class KeptVectors:
    """Vectors of one encoder for one use (queries or passages).

    What is read and what is made anew are both rounded to float16, so that a run that goes on
    learns from the same values.

    Args:
        folder: of the parts, safetensors files; made with the first of them.
        name: that no other encoder or use has; the parts' names begin with it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._held: dict[bytes, NDArray[np.float16]] = {}
        self._new: list[bytes] = []
        for path in sorted(folder.glob(f"{name}-*.safetensors")):
            self._read(path)

    def of(self, texts: Sequence[str], ask: Ask) -> Embeddings:
        """(N, D) float32 of N texts, one at least; `ask` is given those that are not held yet."""
        keys = [hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).digest() for text in texts]
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
            part = load_file(path)
            keys, vectors = part["keys"], part["vectors"]
        except (SafetensorError, KeyError):  # cut off or foreign: its texts are asked for again
            return
        self._held.update(zip(map(bytes, keys), vectors, strict=True))

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        tables: dict[str, NDArray[Any]] = {
            "keys": np.frombuffer(b"".join(self._new), dtype=np.uint8).reshape(-1, _KEY_BYTES),
            "vectors": np.stack([self._held[key] for key in self._new]),
        }
        # a name of its own: processes that train together write beside each other
        path = self._folder / f"{self._name}-{uuid.uuid4().hex}.safetensors"
        partial = path.with_suffix(".partial")
        save_file(tables, partial)
        partial.rename(path)
        self._new.clear()
