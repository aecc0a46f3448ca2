"""Teachers: encoders whose vectors, and cross-encoders whose scores, the trained one learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lbr_search.encoder.batching import TokenBatch
from lbr_search.encoder.load import load_encoder
from lbr_search.encoder.peer import SentenceTransformerEncoder
from lbr_search.protocols import Encoder
from lbr_search.rerank.cross_encoder import load_cross_encoder
from lbr_search.train.kept_vectors import KeptVectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Teachers:
    """Frozen encoders. They read what the student reads: its tokens.

    A teacher with the student's vocabulary takes the tokens as they are; for any other, and where
    vectors are kept, they are written out as text again.

    Args:
        specs: as for `load_encoder`; none = nothing is taught.
        tokenizer: of the student.
        weights: one a teacher, > 0: they are one teacher then (`joined`); none = each by itself.
        kept: folder in which vectors are kept by text; None = each text is read when it comes.
    """

    def __init__(
        self,
        specs: Sequence[str],
        tokenizer: Tokenizer,
        *,
        weights: Sequence[float] = (),
        kept: Path | None = None,
    ) -> None:
        encoders = [load_encoder(spec) for spec in specs]
        self._encoders: list[Encoder | KeptVectors] = [
            encoder if kept is None else KeptVectors(encoder, kept) for encoder in encoders
        ]
        self._tokenizer = tokenizer
        self._weights = weights
        self._takes_tokens = [
            isinstance(encoder, SentenceTransformerEncoder) and encoder.reads_tokens_of(tokenizer)
            for encoder in self._encoders
        ]

    def of_passages(self, batch: TokenBatch, *, n_prompt: int) -> tuple[Tensor, ...]:
        """(B, D') float32 of each teacher; the first `n_prompt` tokens of a row are left out."""
        return self._vectors(batch, n_prompt, "encode_passages")

    def of_queries(self, batch: TokenBatch, *, n_prompt: int) -> tuple[Tensor, ...]:
        """The same with each teacher's way of reading queries."""
        return self._vectors(batch, n_prompt, "encode_queries")

    def _vectors(self, batch: TokenBatch, n_prompt: int, method: str) -> tuple[Tensor, ...]:
        if not self._encoders:
            return ()
        texts = [] if all(self._takes_tokens) else _read(self._tokenizer, batch, n_prompt)
        vectors = []
        for encoder, takes_tokens in zip(self._encoders, self._takes_tokens, strict=True):
            if takes_tokens:
                assert isinstance(encoder, SentenceTransformerEncoder)
                ids, is_text = batch.input_ids[:, n_prompt:], batch.text_mask[:, n_prompt:]
                vectors.append(encoder.encode_tokens(ids, is_text))
            else:
                vectors.append(torch.from_numpy(getattr(encoder, method)(texts)))
        return (joined(vectors, self._weights),) if self._weights else tuple(vectors)


def joined(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Vectors of several encoders as one: its inner products are the weighted mean of theirs.

    Args:
        vectors: (N, D') each, rows of length 1.
        weights: one for each, > 0.

    Returns:
        (N, sum of all D'), rows of length 1.

    >>> one, other = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0], [1.0]])
    >>> both = joined([one, other], [3, 1])
    >>> (both @ both.T).round(decimals=2).tolist()
    [[1.0, 0.25], [0.25, 1.0]]
    """
    total = sum(weights)
    parts = zip(vectors, weights, strict=True)
    return torch.cat([math.sqrt(weight / total) * part for part, weight in parts], dim=1)


class Judges:
    """Frozen cross-encoders, which read a query and a passage together and score the two.

    Args:
        folders: of sentence-transformers cross-encoders; none = nothing is judged.
        tokenizer: of the student.

    Raises:
        EncoderError: a folder does not load, or gives several scores a pair.
        MissingExtraError: sentence-transformers is absent.
    """

    def __init__(self, folders: Sequence[str], tokenizer: Tokenizer) -> None:
        self._models = [load_cross_encoder(folder) for folder in folders]
        self._tokenizer = tokenizer

    def scores(
        self, queries: TokenBatch, passages: TokenBatch, *, n_prompts: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        """(B, G) float32 logits of each cross-encoder: every query with its own G passages.

        Args:
            queries: B texts.
            passages: B * G texts, those of a query together.
            n_prompts: tokens of the prompts, left out of queries and of passages.
        """
        if not self._models:
            return ()
        asked = _read(self._tokenizer, queries, n_prompts[0])
        answers = _read(self._tokenizer, passages, n_prompts[1])
        size = len(answers) // len(asked)  # G
        pairs = [(asked[number // size], answer) for number, answer in enumerate(answers)]
        judged = []
        for model in self._models:
            # without the sigmoid that the library puts on a single score
            logits = model.predict(
                pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
            judged.append(torch.from_numpy(logits).float().view(len(asked), size))
        return tuple(judged)


def _read(tokenizer: Tokenizer, batch: TokenBatch, n_prompt: int) -> list[str]:
    """The texts of a batch, cut where the student's are cut, without their prompts."""
    rows = [
        ids[is_text].tolist()[n_prompt:]
        for ids, is_text in zip(batch.input_ids, batch.text_mask, strict=True)
    ]
    texts: list[str] = tokenizer.decode_batch(rows)
    return texts
