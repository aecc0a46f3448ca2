"""Stage 1: information-bottleneck-constrained generative learning (learn).

`L1 = NLL(y | Z) + lambda_lm * NLL(x)`, and with teachers `+ distill * distance(e(x), teacher(x))`.
A share of the first term may be `KL(frozen LM(y | x) || f(y | Z))`, and tokens inside domain
phrases weigh more in both. Source of the idea: arXiv:2601.11124; the formula is ours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lbr_search.encoder.attention import gather
from lbr_search.encoder.backbone import Backbone
from lbr_search.encoder.batching import TokenBatch
from lbr_search.encoder.model import LbrModel, embed
from lbr_search.train.batches import Stage1Batch, stage1_batch
from lbr_search.train.control import plain_loss
from lbr_search.train.data import TrainingData
from lbr_search.train.distill import Teachers
from lbr_search.train.losses import distillation, token_divergence, weighted_mean
from lbr_search.train.phrases import PhrasePool
from lbr_search.train.recipe import Recipe
from lbr_search.train.stage_config import Stage1Config

TEMPERATURE = 0.05
"""Of the similarities of a teacher whose vectors have another size."""


@dataclass(frozen=True, slots=True)
class Learning:
    """Batches and loss of stage 1, as the loop wants them.

    Attributes:
        model: trained in place.
        teachers: of vectors; none are asked where the stage's `distill` is 0.
        phrases: None = no token weighs more.
        frozen: the backbone as it began, for the KL share; None without one.
    """

    model: LbrModel
    data: TrainingData
    recipe: Recipe
    teachers: Teachers
    phrases: PhrasePool | None = None
    frozen: Backbone | None = None

    @property
    def trained(self) -> nn.Module:
        """What the optimizer changes: the model."""
        return self.model

    def batch(self, step: int) -> Stage1Batch:
        """The batch of a step, on the model's device."""
        config, seed = self.recipe.stage1, self.recipe.data.seed
        made = stage1_batch(self.data, config, seed=seed, step=step, phrases=self.phrases)
        if config.distill:
            taught = self.teachers.of_passages(made.text, n_prompt=made.n_prompt)
            made = dataclasses.replace(made, taught=taught)
        return made.to(self.model.compression.device)

    def needs_model(self, _: int) -> bool:
        """Never: no batch depends on the model."""
        return False

    def loss(self, batch: Stage1Batch, step: int) -> dict[str, Tensor]:
        """See `stage1_loss`."""
        config, loop = self.recipe.stage1, self.recipe.stage1_loop
        if config.plain:
            return plain_loss(self.model, batch, every=config.lm_every)
        return stage1_loss(
            self.model,
            batch,
            config,
            seed=self.recipe.data.seed + step,
            phrase_weight=phrase_weight(config, step, loop.steps * loop.accumulate),
            frozen=self.frozen,
        )


def phrase_weight(config: Stage1Config, step: int, n_steps: int) -> float:
    """Weight of a token inside a phrase: 1 at the first step, `phrase_weight` at the last.

    >>> [phrase_weight(Stage1Config(phrase_weight=3.0), step, 5) for step in range(5)]
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """
    return 1 + (config.phrase_weight - 1) * min(1.0, step / max(1, n_steps - 1))


def stage1_loss(
    model: LbrModel,
    batch: Stage1Batch,
    config: Stage1Config,
    *,
    seed: int,
    phrase_weight: float = 1.0,
    frozen: Backbone | None = None,
) -> dict[str, Tensor]:
    """The loss and its terms, each () float32 in nats per token.

    Args:
        model: in training mode.
        batch: texts x and targets y.
        config: weights of the terms.
        seed: decides which tokens are corrupted.
        phrase_weight: >= 1, of tokens that the batch marks as inside a phrase.
        frozen: needed where `config.kl_weight` is above 0.
    """
    terms: dict[str, Tensor] = {}
    compressed = _compress(model, batch, config, seed=seed, weight=phrase_weight, terms=terms)
    mask = batch.target.text_mask
    logits = model.target_logits(compressed, batch.target)  # (M, V)
    weights = _weights(batch.target_phrases, phrase_weight)
    weights = None if weights is None else weights[mask]
    losses = functional.cross_entropy(logits, batch.target.input_ids[mask], reduction="none")
    terms["nll_y"] = weighted_mean(losses, weights)
    loss = terms["nll_y"]
    if config.kl_weight:
        assert frozen is not None
        divergence = token_divergence(logits, continuation_logits(frozen, batch))
        terms["kl_y"] = weighted_mean(divergence, weights)
        loss = (1 - config.kl_weight) * loss + config.kl_weight * terms["kl_y"]
    if config.lambda_lm:
        loss = loss + config.lambda_lm * terms["nll_x"]
    if config.distill:
        vectors = embed(compressed)
        parts = [distillation(vectors, one, temperature=TEMPERATURE) for one in batch.taught]
        terms["distill"] = torch.stack(parts).mean()
        loss = loss + config.distill * terms["distill"]
    return {"loss": loss, **terms}


@torch.no_grad()
def continuation_logits(language_model: Backbone, batch: Stage1Batch) -> Tensor:
    """What a causal LM expects at each token of y when it reads the whole of x before it.

    Args:
        language_model: in evaluation mode.
        batch: texts and targets, padded on the right.

    Returns:
        (M, V) of the M target tokens, row by row, as `LbrModel.target_logits` has them.
    """
    text, target = batch.text, batch.target
    n_text = text.text_mask.sum(dim=1, keepdim=True)  # (B, 1)
    places = n_text + torch.arange(target.input_ids.shape[1], device=n_text.device)  # (B, Y)
    longest = int(n_text.max())
    joined = functional.pad(text.input_ids[:, :longest], (0, places.shape[1]))
    joined = joined.scatter(1, places, target.input_ids)
    states = language_model.states(language_model.embedding(joined))
    return language_model.logits(gather(states, places - 1)[target.text_mask])


def _compress(
    model: LbrModel,
    batch: Stage1Batch,
    config: Stage1Config,
    *,
    seed: int,
    weight: float,
    terms: dict[str, Tensor],
) -> Tensor:
    """Z of the (corrupted) texts; puts `NLL(x)` of the whole ones into `terms` where it counts."""
    keep_text = config.lambda_lm > 0
    if config.corruption:
        compressed, _ = model.compress(_corrupt(batch, model, config.corruption, seed))
        if keep_text:
            _, states = model.compress(batch.text, keep_text=True)
    else:
        compressed, states = model.compress(batch.text, keep_text=keep_text)
    if keep_text:
        weights = _weights(batch.text_phrases, weight)
        every = config.lm_every
        terms["nll_x"] = model.text_nll(states, batch.text, every=every, weights=weights)
    return compressed


def _weights(is_inside: Tensor | None, weight: float) -> Tensor | None:
    """1 outside phrases, `weight` inside; None where that changes nothing."""
    if is_inside is None or weight == 1:
        return None
    return torch.ones_like(is_inside, dtype=torch.float32).masked_fill(is_inside, weight)


def _corrupt(batch: Stage1Batch, model: LbrModel, share: float, seed: int) -> TokenBatch:
    """Replace a share of the text's tokens by random ones (LLM-QL, arXiv:2504.05216).

    The prompt stays: it says what kind of text this is, and is not part of it.
    """
    text = batch.text
    generator = torch.Generator().manual_seed(seed)
    shape = text.input_ids.shape
    is_hit = torch.rand(shape, generator=generator) < share
    is_hit[:, : batch.n_prompt] = False
    n_tokens = model.backbone.embedding.num_embeddings
    noise = torch.randint(0, n_tokens, shape, generator=generator)
    is_hit, noise = is_hit.to(text.input_ids.device), noise.to(text.input_ids.device)
    ids = torch.where(is_hit & text.text_mask, noise, text.input_ids)
    return dataclasses.replace(text, input_ids=ids)
