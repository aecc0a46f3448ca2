"""Teachers: encoders whose vectors of a batch's texts the trained one is held near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lbr_search.encoder.batching import TokenBatch
from lbr_search.encoder.load import load_encoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Teachers:
    """Frozen encoders. They read what the student reads: its tokens, written out as text again.

    Args:
        specs: as for `load_encoder`; none = nothing is taught.
        tokenizer: of the student.
    """

    def __init__(self, specs: Sequence[str], tokenizer: Tokenizer) -> None:
        self._encoders = [load_encoder(spec) for spec in specs]
        self._tokenizer = tokenizer

    def of_passages(self, batch: TokenBatch, *, n_prompt: int) -> tuple[Tensor, ...]:
        """(B, D') float32 of each teacher; the first `n_prompt` tokens of a row are left out."""
        texts = self._texts(batch, n_prompt)
        return tuple(torch.from_numpy(encoder.encode_passages(texts)) for encoder in self._encoders)

    def of_queries(self, batch: TokenBatch, *, n_prompt: int) -> tuple[Tensor, ...]:
        """The same with each teacher's way of reading queries."""
        texts = self._texts(batch, n_prompt)
        return tuple(torch.from_numpy(encoder.encode_queries(texts)) for encoder in self._encoders)

    def _texts(self, batch: TokenBatch, n_prompt: int) -> list[str]:
        if not self._encoders:
            return []
        rows = [
            ids[is_text].tolist()[n_prompt:]
            for ids, is_text in zip(batch.input_ids, batch.text_mask, strict=True)
        ]
        texts: list[str] = self._tokenizer.decode_batch(rows)
        return texts
