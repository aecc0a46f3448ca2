"""Continued pretraining: the control that tells what stage 1 adds to plain language modelling."""

from __future__ import annotations

import torch
from torch import Tensor

from lbr_search.encoder.batching import TokenBatch, collate
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
    joined = joined_texts(batch).to(batch.text.input_ids.device)
    states = model.backbone.states(model.backbone.embedding(joined.input_ids))
    loss = model.text_nll(states, joined, every=every)
    return {"loss": loss, "nll_x": loss.detach()}


def joined_texts(batch: Stage1Batch) -> TokenBatch:
    """Each row's x and y as one text, without places for compression tokens."""
    rows = [
        torch.cat([ids[is_text], target[is_target]]).tolist()
        for ids, is_text, target, is_target in zip(
            batch.text.input_ids,
            batch.text.text_mask,
            batch.target.input_ids,
            batch.target.text_mask,
            strict=True,
        )
    ]
    return collate(rows, n_compression_tokens=0)
