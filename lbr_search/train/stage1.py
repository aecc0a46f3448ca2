"""Stage 1: information-bottleneck-constrained generative learning (learn).

`L1 = NLL(y | Z) + lambda_lm * NLL(x)`, and with teachers `+ distill * distance(e(x), teacher(x))`.
Source of the idea: arXiv:2601.11124; the formula is ours.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from lbr_search.encoder.batching import TokenBatch
from lbr_search.encoder.model import LbrModel, embed
from lbr_search.train.batches import Stage1Batch
from lbr_search.train.losses import distillation
from lbr_search.train.recipe import Stage1Config

TEMPERATURE = 0.05
"""Of the similarities of a teacher whose vectors have another size."""


def stage1_loss(
    model: LbrModel, batch: Stage1Batch, config: Stage1Config, *, seed: int
) -> dict[str, Tensor]:
    """The loss and its terms, each () float32 in nats per token.

    Args:
        model: in training mode.
        batch: texts x and targets y.
        config: weights of the terms.
        seed: decides which tokens are corrupted.
    """
    terms = {}
    if config.corruption:
        compressed, _ = model.compress(_corrupt(batch.text, model, config.corruption, seed))
        if config.lambda_lm:
            _, states = model.compress(batch.text, keep_text=True)
            terms["nll_x"] = model.text_nll(states, batch.text, every=config.lm_every)
    else:
        compressed, states = model.compress(batch.text, keep_text=config.lambda_lm > 0)
        if config.lambda_lm:
            terms["nll_x"] = model.text_nll(states, batch.text, every=config.lm_every)
    losses, mask = model.token_nll(compressed, batch.target)
    terms["nll_y"] = (losses * mask).sum() / mask.sum()
    loss = terms["nll_y"]
    if config.lambda_lm:
        loss = loss + config.lambda_lm * terms["nll_x"]
    if config.distill:
        vectors = embed(compressed)
        parts = [distillation(vectors, one, temperature=TEMPERATURE) for one in batch.taught]
        terms["distill"] = torch.stack(parts).mean()
        loss = loss + config.distill * terms["distill"]
    return {"loss": loss, **terms}


def _corrupt(text: TokenBatch, model: LbrModel, share: float, seed: int) -> TokenBatch:
    """Replace a share of the text's tokens by random ones (LLM-QL, arXiv:2504.05216)."""
    generator = torch.Generator().manual_seed(seed)
    shape = text.input_ids.shape
    is_hit = torch.rand(shape, generator=generator) < share
    n_tokens = model.backbone.embedding.num_embeddings
    noise = torch.randint(0, n_tokens, shape, generator=generator)
    is_hit, noise = is_hit.to(text.input_ids.device), noise.to(text.input_ids.device)
    ids = torch.where(is_hit & text.text_mask, noise, text.input_ids)
    return dataclasses.replace(text, input_ids=ids)
