"""What a checkpoint was trained on, as digests: enough to ask whether it has read a text.

``read.safetensors`` beside the weights: eight bytes for each text and passage that the run read, as
it was read, whole. Texts cannot be made from digests. A text that was cut, or of which a pair holds
a part only, is not found by its whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

READ_FILE = "read.safetensors"
_TENSOR = "texts"


def text_key(text: str) -> int:
    """Eight bytes of a digest of a text, white space made even, as a signed number.

    >>> text_key("a   b ") == text_key("a b")
    True
    """
    words = " ".join(text.split())
    digest = hashlib.blake2b(f"passage\0{words}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def write_read_texts(folder: Path, keys: Iterable[NDArray[np.int64]]) -> None:
    """Write the keys of all texts that a run read, each once, beside its checkpoint."""
    from safetensors.numpy import save_file

    distinct = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *keys]))
    save_file({_TENSOR: distinct}, folder / READ_FILE)


def read_keys(checkpoint: Path) -> NDArray[np.int64] | None:
    """The keys of all texts that a checkpoint has read; None = it keeps no record."""
    from safetensors.numpy import load_file

    file = checkpoint / READ_FILE
    return load_file(file)[_TENSOR] if file.is_file() else None


def has_read(checkpoint: Path, texts: Iterable[str]) -> int | None:
    """How many of some texts a checkpoint has read; None = it has no record of what it read."""
    keys = read_keys(checkpoint)
    if keys is None:
        return None
    wanted = np.array([text_key(text) for text in texts], dtype=np.int64)
    return int(np.isin(wanted, keys).sum())
