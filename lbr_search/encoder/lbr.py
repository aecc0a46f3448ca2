"""`LbrEncoder`: a trained LBR checkpoint as an encoder of queries and passages."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lbr_search.encoder import int8
from lbr_search.encoder.batching import (
    collate,
    length_sorted_batches,
    prompt_token_ids,
    tokenize,
)
from lbr_search.encoder.checkpoint import (
    RANGES_FILE,
    LbrConfig,
    checkpoint_fingerprint,
    load_checkpoint,
)
from lbr_search.encoder.model import LbrModel, embed, shorten
from lbr_search.encoder.process import prepare_process
from lbr_search.errors import EncoderError
from lbr_search.protocols import EncodeReport
from lbr_search.types import Compressed, Embeddings

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32}
"""Name -> dtype of what is not an 8-bit matrix product."""
BATCH_TOKENS = {"cpu": 4_096, "cuda": 131_072}
"""Places of a batch: on a CPU about what the last-level cache holds; on a GPU what fills it."""


class LbrEncoder:
    """Encode with an LBR checkpoint: length-sorted batches, no gradient, one forward function.

    Args:
        folder: a checkpoint folder.
        spec: what `load_encoder` was given; stored in indexes. Default: the folder.
        dtype: float32, bfloat16, int8 or auto: see `preferred_dtype`.
        dim: size that vectors are shortened to, one that was trained; None = whole vectors.

    Raises:
        EncoderError: the folder is not a sound checkpoint, or `dim` was not trained.
    """

    def __init__(
        self, folder: Path, *, spec: str | None = None, dtype: str = "auto", dim: int | None = None
    ) -> None:
        prepare_process()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        chosen = preferred_dtype(folder) if dtype == "auto" else dtype
        if chosen not in DTYPES:
            raise EncoderError(f"unknown dtype {dtype!r}.", f"use one of {', '.join(DTYPES)}")
        self._model, self._tokenizer, self._config = load_checkpoint(folder, dtype=DTYPES[chosen])
        self._model.eval().requires_grad_(False)
        if chosen == "int8":
            self._device = torch.device("cpu")  # the 8-bit operators have no other
            int8.quantise(self._model, int8.read_ranges(folder))
        self._model.to(self._device)
        self._query_prompt, self._passage_prompt = (
            prompt_token_ids(self._tokenizer, prompt)
            for prompt in (self._config.query_prompt, self._config.passage_prompt)
        )
        self._dim = dim or self._model.dim
        _check_trained(self._dim, (self._model.dim, *self._config.dims), folder)
        is_short = self._dim < self._model.dim
        self._fingerprint = checkpoint_fingerprint(
            folder, dtype=chosen, dim=self._dim if is_short else None
        )
        cut = f"@{self._dim}" if is_short else ""
        self._spec = f"{spec or folder.resolve()}{cut}#{chosen}"

    @property
    def name(self) -> str:
        """The checkpoint's own name, and the size of vectors where they are shortened."""
        is_short = self._dim < self._model.dim
        return f"{self._config.name}@{self._dim}" if is_short else self._config.name

    @property
    def spec(self) -> str:
        """Path or name, and dtype: opens the same encoder again."""
        return self._spec

    @property
    def dim(self) -> int:
        """D, or the size that vectors are shortened to."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """Longest text read whole."""
        return self._config.max_tokens

    @property
    def n_compression_tokens(self) -> int:
        """K."""
        return self._model.n_compression_tokens

    @property
    def fingerprint(self) -> str:
        """See `checkpoint_fingerprint`."""
        return self._fingerprint

    @property
    def config(self) -> LbrConfig:
        """The checkpoint's settings."""
        return self._config

    @property
    def model(self) -> LbrModel:
        """The network, in evaluation mode."""
        return self._model

    def encode_queries(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D) vectors of queries, in the order given."""
        return self._encode(texts, self._query_prompt, report)

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D) vectors of passages, in the order given."""
        return self._encode(texts, self._passage_prompt, report)

    def compress_queries(self, texts: Sequence[str]) -> Compressed:
        """(N, k, D) of queries: Z as the network made it."""
        return self._compress(texts, self._query_prompt, None)

    def compress_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Compressed:
        """(N, k, D) of passages: Z as the network made it; `types.pool` makes their vectors."""
        return self._compress(texts, self._passage_prompt, report)

    def query_log_likelihood(self, query: str, compressed: Compressed) -> NDArray[np.float32]:
        """`log p(query | Z)` in nats a token, for each of N texts: (N,) float32.

        The query is what stage 2 trained the decoder to write: without prompt, cut as queries are.

        Args:
            query: at least one token.
            compressed: Z of each text, (N, k, D).
        """
        (ids,) = tokenize(self._tokenizer, [query], prompt_ids=[], max_tokens=self.max_tokens)
        target = collate([ids or [0]], n_compression_tokens=0).to(self._device)
        soft = torch.from_numpy(compressed).to(self._device)
        with torch.inference_mode():
            return -self._model.shared_target_nll(soft, target.input_ids[0]).cpu().numpy()

    def generate(self, compressed: Compressed, *, max_tokens: int) -> list[str]:
        """What the decoder writes from Z alone: what the vectors kept of each text.

        Args:
            compressed: (N, k, D).
            max_tokens: > 0, of each text written; the likeliest token at each place.
        """
        soft = torch.from_numpy(compressed).to(self._device)
        with torch.inference_mode():
            ids = self._model.write(soft, max_tokens=max_tokens)
        written: list[str] = self._tokenizer.decode_batch(ids.tolist())
        return written

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character offsets of the tokens of `text`, untruncated."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [(int(start), int(end)) for start, end in encoding.offsets]

    def _token_ids(
        self, texts: Sequence[str], prompt_ids: list[int], report: EncodeReport | None
    ) -> list[list[int]]:
        return tokenize(
            self._tokenizer,
            texts,
            prompt_ids=prompt_ids,
            max_tokens=self.max_tokens,
            report=report,
        )

    def _encode(
        self, texts: Sequence[str], prompt_ids: list[int], report: EncodeReport | None
    ) -> Embeddings:
        started = time.perf_counter()
        token_ids = self._token_ids(texts, prompt_ids, report)
        vectors = encode_token_ids(self._model, token_ids, device=self._device)
        if self._dim < self._model.dim:
            vectors = shorten(torch.from_numpy(vectors), self._dim).numpy()
        if report is not None:
            report.seconds += time.perf_counter() - started
        return vectors

    def _compress(
        self, texts: Sequence[str], prompt_ids: list[int], report: EncodeReport | None
    ) -> Compressed:
        if self._dim < self._model.dim:  # the decoder reads whole vectors
            whole = self._spec.replace(f"@{self._dim}", "")
            raise EncoderError(
                f"{self.name} shortens vectors to {self._dim} of {self._model.dim} numbers; "
                "compressed vectors are kept whole.",
                f"use --encoder {whole}, or leave --multi-vector out",
            )
        started = time.perf_counter()
        token_ids = self._token_ids(texts, prompt_ids, report)
        shape = (len(token_ids), self.n_compression_tokens, self.dim)
        compressed = np.empty(shape, dtype=np.float32)
        for rows, part in _compressed_batches(self._model, token_ids, device=self._device):
            compressed[rows] = part.float().cpu().numpy()
        if report is not None:
            report.seconds += time.perf_counter() - started
        return compressed


def encode_token_ids(
    model: LbrModel, token_ids: Sequence[Sequence[int]], *, device: torch.device
) -> Embeddings:
    """Vectors of tokenised texts, in the order given; also used by dev evaluation in training.

    Args:
        model: in evaluation mode.
        token_ids: N lists; an empty one is encoded as token 0 alone.
        device: where the model is.

    Returns:
        (N, D) float32.
    """
    vectors = np.empty((len(token_ids), model.dim), dtype=np.float32)
    for rows, compressed in _compressed_batches(model, token_ids, device=device):
        vectors[rows] = embed(compressed).cpu().numpy()
    return vectors


def _compressed_batches(
    model: LbrModel, token_ids: Sequence[Sequence[int]], *, device: torch.device
) -> Iterator[tuple[list[int], Tensor]]:
    """Places of some texts, and their Z (B, k, D), until all have had their turn."""
    filled = [list(ids) or [0] for ids in token_ids]
    k = model.n_compression_tokens
    lengths = [len(ids) + k for ids in filled]
    for rows in length_sorted_batches(lengths, batch_tokens=BATCH_TOKENS[device.type]):
        batch = collate([filled[row] for row in rows], n_compression_tokens=k)
        with torch.inference_mode():
            compressed, _ = model.compress(batch.to(device))
        yield rows, compressed


def _check_trained(dim: int, trained: tuple[int, ...], folder: Path) -> None:
    if dim not in trained:
        known = sorted(set(trained), reverse=True)
        raise EncoderError(
            f"{folder} was not trained for vectors of {dim} numbers; "
            f"trained: {', '.join(map(str, known))}.",
            f"use one of these, e.g. @{known[-1]}, or train with [stage2] matryoshka = [{dim}]",
        )


def preferred_dtype(folder: Path) -> str:
    """The dtype that is fast here: a fixed rule, not a measurement, so that it never flips.

    bfloat16 on a GPU and on CPUs with matrix units; int8 on CPUs with 8-bit dot products if the
    checkpoint has its ranges; float32 elsewhere (bfloat16 without matrix units was measured at
    half the speed of float32).
    """
    if torch.cuda.is_available() or torch.cpu._is_amx_tile_supported():
        return "bfloat16"
    has_ranges = (folder / RANGES_FILE).is_file()
    return "int8" if has_ranges and int8.is_supported() else "float32"
