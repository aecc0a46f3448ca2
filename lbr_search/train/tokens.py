"""Token tables on disk, and the tokenizer of models trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPLIT_PATTERN = (
    r"\p{N}"  # digits one by one: numbers, locants and registry numbers share their pieces
    r"| ?\p{L}+"
    r"| ?[^\s\p{L}\p{N}]"  # one symbol at a time: SMILES and code read the same everywhere
    r"|\s+"
)


@dataclass(frozen=True, slots=True)
class TokenTable:
    """N token sequences in one flat array.

    Attributes:
        ids: (M,) int32, all tokens.
        offsets: (N + 1,) int64, where each sequence begins and ends.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int, *, limit: int) -> list[int]:
        """The first `limit` tokens of sequence `index`."""
        start = int(self.offsets[index])
        stop = min(int(self.offsets[index + 1]), start + limit)
        row: list[int] = self.ids[start:stop].tolist()
        return row

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each sequence."""
        return np.diff(self.offsets)


def token_table(tokenizer: Tokenizer, texts: Sequence[str]) -> TokenTable:
    """Tokenise texts, in blocks, without special tokens."""
    blocks: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    for start in range(0, len(texts), 1_024):
        block = list(texts[start : start + 1_024])
        encodings = tokenizer.encode_batch_fast(block, add_special_tokens=False)
        encoded = [encoding.ids for encoding in encodings]
        lengths.extend(len(ids) for ids in encoded)
        blocks.extend(np.asarray(ids, dtype=np.int32) for ids in encoded)
    ids = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int32)
    return TokenTable(ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def train_tokenizer(
    texts: Iterable[str], *, vocab_size: int, special_tokens: Sequence[str]
) -> Tokenizer:
    """Byte-level BPE: any text can be written, nothing is unknown.

    Args:
        texts: what to learn the merges from.
        vocab_size: entries at most, special tokens and the 256 bytes included.
        special_tokens: kept whole, e.g. the prompts.

    Returns:
        A tokenizer whose token 0 is for padding.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>", *special_tokens],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True  # a text that spells a prompt is text
    return tokenizer


def save_tables(tables: dict[str, NDArray[np.generic]], path: Path) -> None:
    """Write named arrays as one safetensors file, then rename it into place."""
    from safetensors.numpy import save_file

    partial = path.with_suffix(".partial")
    save_file({name: np.ascontiguousarray(array) for name, array in tables.items()}, partial)
    partial.rename(path)


def load_tables(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read what `save_tables` wrote."""
    from safetensors.numpy import load_file

    tables: dict[str, NDArray[np.generic]] = load_file(path)
    return tables


def take_chars(texts: Iterable[str], limit: int) -> Iterator[str]:
    """Texts until `limit` characters have been given out; the last one whole."""
    taken = 0
    for text in texts:
        if taken >= limit:
            return
        taken += len(text)
        yield text
