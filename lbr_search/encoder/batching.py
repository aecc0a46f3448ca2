"""Texts -> token ids -> padded batches in which the compression tokens follow each text.

Nothing is cut in silence: `tokenize` counts what a limit removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lbr_search.errors import ShapeError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from lbr_search.protocols import EncodeReport

PaddingSide = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """A padded batch. S = longest text + k compression tokens.

    Attributes:
        input_ids: (B, S) int64; the k compression places and the padding hold `0`.
        text_mask: (B, S) bool; true where a token of the text stands.
        compression_positions: (B, k) int64, the places of the compression tokens in S.
        attention_mask: (B, S) int64 for left padding; None for right padding, where causal
            attention alone keeps every token from seeing the padding after it.
        position_ids: (B, S) int64 for left padding; None = 0..S-1.
    """

    input_ids: Tensor
    text_mask: Tensor
    compression_positions: Tensor
    attention_mask: Tensor | None = None
    position_ids: Tensor | None = None

    def to(self, device: torch.device | str) -> TokenBatch:
        """The same batch on another device."""
        return TokenBatch(
            self.input_ids.to(device),
            self.text_mask.to(device),
            self.compression_positions.to(device),
            None if self.attention_mask is None else self.attention_mask.to(device),
            None if self.position_ids is None else self.position_ids.to(device),
        )

    def rows(self, which: Tensor) -> TokenBatch:
        """The rows of these numbers, (N,) int64; one may be taken more than once.

        For batches padded on the right.
        """
        assert self.attention_mask is None
        return TokenBatch(
            self.input_ids[which], self.text_mask[which], self.compression_positions[which]
        )

    def split(self, size: int) -> list[TokenBatch]:
        """Batches of `size` rows, the last of what is left, each as wide as its longest text.

        For batches padded on the right.
        """
        assert self.attention_mask is None
        k = self.compression_positions.shape[1]
        parts = []
        for start in range(0, len(self.input_ids), size):
            rows = slice(start, start + size)
            width = int(self.text_mask[rows].sum(dim=1).max()) + k
            parts.append(
                TokenBatch(
                    self.input_ids[rows, :width],
                    self.text_mask[rows, :width],
                    self.compression_positions[rows],
                )
            )
        return parts


def tokenize(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    prompt_ids: Sequence[int],
    max_tokens: int,
    report: EncodeReport | None = None,
) -> list[list[int]]:
    """Prompt and token ids of each text, the text cut to `max_tokens` tokens at a token boundary.

    Args:
        tokenizer: as `read_tokenizer` opens it.
        texts: N texts.
        prompt_ids: put before each text; not counted in `max_tokens`.
        max_tokens: > 0, longest text.
        report: receives the counts of texts, tokens, truncated texts and lost tokens.

    Returns:
        N lists of ids.
    """
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    encoded = [encoding.ids for encoding in encodings]
    if report is not None:
        lengths = [len(ids) for ids in encoded]
        report.n_texts += len(lengths)
        report.n_tokens += sum(min(length, max_tokens) for length in lengths)
        report.n_truncated += sum(length > max_tokens for length in lengths)
        report.n_tokens_lost += sum(max(0, length - max_tokens) for length in lengths)
    return [[*prompt_ids, *ids[:max_tokens]] for ids in encoded]


def prompt_token_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Ids of a prompt, in which special tokens do count as such."""
    tokenizer.encode_special_tokens = False
    ids: list[int] = tokenizer.encode(prompt, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = True
    return ids


def length_sorted_batches(lengths: Sequence[int], *, batch_tokens: int) -> Iterator[list[int]]:
    """Positions of the texts in batches of nearly equal length, longest first.

    A batch that is a quarter full ends where texts get shorter than three quarters of its longest:
    then padding costs more than a batch of their own.

    Args:
        lengths: tokens of each text.
        batch_tokens: a batch holds at most this many places, padding included; at least one text.

    >>> list(length_sorted_batches([3, 9, 4, 8], batch_tokens=18))
    [[1, 3], [2, 0]]
    >>> list(length_sorted_batches([9, 9, 3, 3, 3], batch_tokens=50))
    [[0, 1], [2, 3, 4]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        width = max(1, lengths[order[start]])
        stop = min(len(order), start + max(1, batch_tokens // width))
        enough = start + max(1, -(-batch_tokens // (4 * width)))
        shorter = (at for at in range(enough, stop) if 4 * lengths[order[at]] < 3 * width)
        stop = next(shorter, stop)
        yield order[start:stop]
        start = stop


def collate(
    token_ids: Sequence[Sequence[int]],
    *,
    n_compression_tokens: int,
    padding_side: PaddingSide = "right",
) -> TokenBatch:
    """Pad a batch and reserve k places for the compression tokens right behind each text.

    Args:
        token_ids: B lists of ids, each of at least one token.
        n_compression_tokens: k >= 0; 0 is used for the decoder's targets.
        padding_side: right needs no mask; left gives one, for models that want it.

    Raises:
        ShapeError: a text has no tokens.
    """
    k = n_compression_tokens
    sizes = [len(ids) for ids in token_ids]
    if not sizes or min(sizes) == 0:
        raise ShapeError("a text without tokens cannot be encoded.", "drop empty texts")
    lengths = torch.tensor(sizes)[:, None]  # (B, 1)
    width = max(sizes) + k
    first = width - k - lengths if padding_side == "left" else torch.zeros_like(lengths)
    place = torch.arange(width)[None, :]
    text_mask = (place >= first) & (place < first + lengths)
    input_ids = torch.zeros(text_mask.shape, dtype=torch.long)
    input_ids[text_mask] = torch.tensor(list(chain.from_iterable(token_ids)), dtype=torch.long)
    compression_positions = first + lengths + torch.arange(k)
    if padding_side == "right":
        return TokenBatch(input_ids, text_mask, compression_positions)
    return TokenBatch(
        input_ids,
        text_mask,
        compression_positions,
        attention_mask=(place >= first).long(),
        position_ids=(place - first).clamp(min=0),
    )
