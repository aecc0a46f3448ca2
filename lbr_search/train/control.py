"""Continued pretraining: the control that tells what stage 1 adds to plain language modelling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lbr_search.encoder.batching import TokenBatch
from lbr_search.encoder.model import LbrModel
from lbr_search.train.batches import Stage1Batch


def plain_loss(model: LbrModel, batch: Stage1Batch, *, every: int) -> dict[str, Tensor]:
    """`NLL(x y)`: the texts of a stage-1 batch, each with its target behind it, as plain text.

    The same tokens as stage 1 reads in the same step, without compression tokens, so that nothing
    but the objective differs.

    Args:
        model: in training mode; compression tokens and bridge get no gradient.
        batch: texts x and targets y.
        every: score one token in so many.

    Returns:
        "loss" and "nll_x", both () float32 in nats per token.
    """
    joined = joined_texts(batch)
    states = model.backbone.states(model.backbone.embedding(joined.input_ids))
    loss = model.text_nll(states, joined, every=every)
    return {"loss": loss, "nll_x": loss.detach()}


def joined_texts(batch: Stage1Batch) -> TokenBatch:
    """Each row's x and y as one text, padded on the right, without compression tokens."""
    text, target = batch.text, batch.target
    n_text = text.text_mask.sum(dim=1, keepdim=True)  # (B, 1)
    n_tokens = n_text + target.text_mask.sum(dim=1, keepdim=True)
    longest = int(n_text.max())
    ids = (text.input_ids * text.text_mask)[:, :longest]
    ids = functional.pad(ids, (0, target.input_ids.shape[1]))
    places = n_text + torch.arange(target.input_ids.shape[1], device=ids.device)  # (B, Y)
    ids = ids.scatter(1, places, target.input_ids * target.text_mask)[:, : int(n_tokens.max())]
    is_text = torch.arange(ids.shape[1], device=ids.device) < n_tokens
    return TokenBatch(ids, is_text, ids.new_zeros(len(ids), 0))
