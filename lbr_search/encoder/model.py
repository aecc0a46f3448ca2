"""The LBR network: a causal LM, k compression tokens and the bridge back into its own decoder.

Source of the idea: Liang et al. 2026, *Learn Before Represent*, arXiv:2601.11124. Every formula
here is this project's own choice; see ARCHITECTURE.md. Axes: ``B`` batch, ``S`` places of a padded
row, ``k`` compression tokens, ``D`` hidden size, ``V`` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lbr_search.encoder.attention import gather
from lbr_search.encoder.backbone import Backbone
from lbr_search.encoder.batching import TokenBatch
from lbr_search.errors import EncoderError

LOGIT_PLACES = 1_024
"""Places whose scores over the vocabulary are held at once: 125 MB of float32 at 30,522 words."""


class LbrModel(nn.Module):
    """One causal LM used twice: to compress a text into Z, and to generate from Z alone.

    Args:
        backbone: a causal LM.
        n_compression_tokens: k, 1 to 16.

    Raises:
        EncoderError: k is out of range.
    """

    def __init__(self, backbone: Backbone, *, n_compression_tokens: int) -> None:
        super().__init__()
        if not 1 <= n_compression_tokens <= 16:
            raise EncoderError(
                f"n_compression_tokens = {n_compression_tokens} is not between 1 and 16.",
                "set n_compression_tokens = 4",
            )
        self.backbone = backbone
        self.n_compression_tokens = n_compression_tokens
        table = backbone.embedding.weight.detach()
        dim = table.shape[1]
        # as wide as the token embeddings, so that attention treats them as one more word
        self.compression = nn.Parameter(
            torch.randn(n_compression_tokens, dim) * table[:4_096].float().std()
        )
        self.bridge = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.bridge.weight)

    @property
    def dim(self) -> int:
        """D, the size of a vector."""
        return int(self.compression.shape[1])

    def compress(self, batch: TokenBatch, *, keep_text: bool = False) -> tuple[Tensor, Tensor]:
        """Read texts and return what the k compression tokens took from them.

        The one forward pass of training and search.

        Args:
            batch: B texts; `attention_mask` may be a 4-D additive mask, passed on as it is.
            keep_text: also return the states of the text, for `NLL(x)`.

        Returns:
            Z (B, k, D), last hidden states at the compression tokens, and the states of all
            places (B, S, D) if `keep_text`, else an empty tensor.
        """
        embedded = self._embed(batch)  # (B, S, D)
        places = batch.compression_positions
        states = self.backbone.states(
            embedded,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            at=None if keep_text else places,
        )
        if keep_text:
            return gather(states, places), states
        return states, embedded.new_empty(0)

    def text_nll(
        self,
        states: Tensor,
        batch: TokenBatch,
        *,
        every: int = 1,
        weights: Tensor | None = None,
    ) -> Tensor:
        """`NLL(x)`: plain causal language modelling of the texts.

        Args:
            states: (B, S, D) of all places.
            batch: the texts.
            every: score one target in so many; the rest cost no vocabulary product.
            weights: (B, S) of each token as a target, > 0; None = all alike.

        Returns:
            () float32, nats per token, the weighted mean.
        """
        is_target = batch.text_mask[:, 1:] & batch.text_mask[:, :-1]
        if every > 1:
            row = torch.arange(is_target.shape[0], device=is_target.device)[:, None]
            place = torch.arange(is_target.shape[1], device=is_target.device)[None]
            is_target = is_target & ((row + place) % every == 0)
        logits = self.backbone.logits(states[:, :-1][is_target])
        targets = batch.input_ids[:, 1:][is_target]
        if weights is None:
            return functional.cross_entropy(logits.float(), targets)
        losses = functional.cross_entropy(logits.float(), targets, reduction="none")
        weight = weights[:, 1:][is_target]
        return (losses * weight).sum() / weight.sum()

    def generate_nll(self, compressed: Tensor, target: TokenBatch) -> Tensor:
        """`NLL(y | Z)` by text: the same LM reads bridge(Z) as k soft tokens, never x.

        Args:
            compressed: Z (B, k, D).
            target: B continuations y, collated with 0 compression tokens, right padding.

        Returns:
            (B,) float32, mean nats per token of each y.
        """
        losses, mask = self.token_nll(compressed, target)
        return (losses * mask).sum(1) / mask.sum(1).clamp(min=1)

    def token_nll(self, compressed: Tensor, target: TokenBatch) -> tuple[Tensor, Tensor]:
        """Loss of each target token given Z. Two (B, Y) tensors: nats, and 1.0 where a token is."""
        mask = target.text_mask
        losses = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
        logits = self.target_logits(compressed, target)
        losses[mask] = functional.cross_entropy(logits, target.input_ids[mask], reduction="none")
        return losses, mask.float()

    def target_logits(self, compressed: Tensor, target: TokenBatch) -> Tensor:
        """What the decoder expects at each target token, given Z and the targets before it.

        Args:
            compressed: Z (B, k, D).
            target: B continuations y, collated with 0 compression tokens, right padding.

        Returns:
            (M, V) float32 of the M target tokens, row by row.
        """
        table = self.backbone.embedding
        k = compressed.shape[1]
        known = table(target.input_ids[:, :-1])
        # under autocast the product is bfloat16, and the residual stream must not become so
        soft = self.bridge(compressed).to(known.dtype)
        inputs = torch.cat([soft, known], dim=1)
        states = self.backbone.states(inputs)
        # place k-1 (the last soft token) predicts y_0: (B, k + Y - 1, D) -> (B, Y, D)
        return self.backbone.logits(states[:, k - 1 :][target.text_mask]).float()

    def shared_target_nll(self, compressed: Tensor, target_ids: Tensor) -> Tensor:
        """`NLL(y | Z)` of one y for many Z: what `generate_nll` gives, with less work and memory.

        Args:
            compressed: Z of N texts, (N, k, D).
            target_ids: (Y,) int64, the same for all.

        Returns:
            (N,) float32, mean nats per token.
        """
        known = self.backbone.embedding(target_ids[:-1]).expand(len(compressed), -1, -1)
        soft = self.bridge(compressed.to(known.dtype))
        states = self.backbone.states(torch.cat([soft, known], dim=1))
        places = states[:, compressed.shape[1] - 1 :].flatten(0, 1)  # (N * Y, D)
        wanted = target_ids.expand(len(compressed), -1)
        losses = [  # never all (N * Y, V) at once: 1.6 GB for a query of 256 tokens and 50 texts
            functional.cross_entropy(self.backbone.logits(part).float(), tokens, reduction="none")
            for part, tokens in zip(
                torch.split(places, LOGIT_PLACES),
                torch.split(wanted.flatten(), LOGIT_PLACES),
                strict=True,
            )
        ]
        return torch.cat(losses).view(wanted.shape).mean(dim=1)

    def write(self, compressed: Tensor, *, max_tokens: int) -> Tensor:
        """The likeliest next token, again and again, from Z alone: (N, k, D) -> (N, max_tokens).

        Without a cache of keys: texts are short, and this is for people to read.
        """
        inputs = self.bridge(compressed.to(self.bridge.weight.dtype))
        ids = torch.empty(len(compressed), 0, dtype=torch.long, device=compressed.device)
        for _ in range(max_tokens):
            last = self.backbone.states(inputs)[:, -1]
            chosen = self.backbone.logits(last).argmax(dim=-1, keepdim=True)  # (N, 1)
            ids = torch.cat([ids, chosen], dim=1)
            inputs = torch.cat([inputs, self.backbone.embedding(chosen)], dim=1)
        return ids

    def _embed(self, batch: TokenBatch) -> Tensor:
        embedded = self.backbone.embedding(batch.input_ids)
        places = batch.compression_positions
        rows = torch.arange(len(places), device=places.device)[:, None].expand_as(places)
        soft = self.compression.to(embedded.dtype).expand(len(places), -1, -1)
        put: Tensor = embedded.index_put((rows, places), soft)
        return put


def embed(compressed: Tensor) -> Tensor:
    """e(x): the normalised mean of the rows of Z. (B, k, D) -> (B, D) float32, length 1."""
    return functional.normalize(compressed.float().mean(dim=1), dim=-1)


def shorten(vectors: Tensor, dim: int) -> Tensor:
    """The first `dim` numbers of each vector, of length 1 again. (N, D) -> (N, dim).

    Source: Kusupati et al. 2022, Matryoshka representations, arXiv:2205.13147.
    """
    return functional.normalize(vectors[:, :dim], dim=-1)
