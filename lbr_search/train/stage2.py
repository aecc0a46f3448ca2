"""Stage 2: generative-refined contrastive learning on the compressed vectors (represent).

`L2 = InfoNCE(e(q), e(d)) + gamma * NLL(q | Z(d))`, and with teachers
`+ distill * mean over teachers (distance(e, teacher) or difference of rankings)`. InfoNCE may be
summed over shorter vectors and taken in both directions. Source of the idea: arXiv:2601.11124; the
formula is ours. With `posterior` the decoder learns to rank besides: see `_posterior`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lbr_search.encoder.batching import TokenBatch
from lbr_search.encoder.model import LbrModel, embed, shorten
from lbr_search.train.batches import Stage2Batch, stage2_batch
from lbr_search.train.data import TrainingData
from lbr_search.train.distill import Judges, Teachers
from lbr_search.train.losses import RANKING_TERMS, distillation, false_negatives, info_nce
from lbr_search.train.mining import HardNegatives
from lbr_search.train.recipe import Recipe
from lbr_search.train.stage_config import LEARNED_TEMPERATURES, Stage2Config, vector_sizes


class Temperature(nn.Module):
    """A learned temperature that stays between two bounds.

    Source of learning it: Radford et al. 2021, arXiv:2103.00020, where it is cut at the bound; here
    its logarithm moves on a sigmoid between them, so that it can always come back.

    Args:
        start: first value, between the bounds.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        low, high = LEARNED_TEMPERATURES
        share = math.log(start / low) / math.log(high / low)
        self.place = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def forward(self) -> Tensor:
        """() float32."""
        low, high = LEARNED_TEMPERATURES
        return low * (high / low) ** torch.sigmoid(self.place)


@dataclass(frozen=True, slots=True)
class Representing:
    """Batches and loss of stage 2, as the loop wants them.

    Attributes:
        model: trained in place.
        teachers: of vectors; none are asked where the stage's `distill` is 0.
        judges: of queries with passages, likewise.
        negatives: what stands beside each query at a step.
        temperature: None = fixed.
    """

    model: LbrModel
    data: TrainingData
    recipe: Recipe
    teachers: Teachers
    judges: Judges
    negatives: HardNegatives
    temperature: Temperature | None = None

    @property
    def trained(self) -> nn.Module:
        """What the optimizer changes and a resumed run reads: the model, and what only helps it."""
        if self.temperature is None:
            return self.model
        return nn.ModuleDict({"model": self.model, "temperature": self.temperature})

    def batch(self, step: int) -> Stage2Batch:
        """The batch of a step, on the model's device; called when `step` steps have been made."""
        config, seed = self.recipe.stage2, self.recipe.data.seed
        made = stage2_batch(
            self.data, config, seed=seed, step=step, negatives=self.negatives.at(step)
        )
        if config.distill:
            n_query, n_passage = len(self.data.query_prompt), len(self.data.passage_prompt)
            queries = self.teachers.of_queries(made.queries, n_prompt=n_query)
            passages = self.teachers.of_passages(made.passages, n_prompt=n_passage)
            both = zip(queries, passages, strict=True)
            made = replace(
                made,
                taught=tuple(torch.cat(parts) for parts in both),
                judged=self.judges.scores(
                    made.queries, made.passages, n_prompts=(n_query, n_passage)
                ),
            )
        return made.to(self.model.compression.device)

    def needs_model(self, step: int) -> bool:
        """Whether `batch` mines with the model at this step."""
        return self.negatives.needs_model(step)

    def loss(self, batch: Stage2Batch, step: int) -> dict[str, Tensor]:
        """See `stage2_loss`."""
        loop = self.recipe.stage2_loop
        return stage2_loss(
            self.model,
            batch,
            self.recipe.stage2,
            is_warm=step >= loop.warmup_steps * loop.accumulate,  # micro-batches
            temperature=None if self.temperature is None else self.temperature(),
        )


def stage2_loss(
    model: LbrModel,
    batch: Stage2Batch,
    config: Stage2Config,
    *,
    is_warm: bool,
    temperature: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss and its terms, each () float32 in nats.

    Args:
        model: in training mode.
        batch: B queries, B * G passages.
        config: temperature and weights.
        is_warm: the scores mean something by now, so mined passages may be judged by them. An
            untrained encoder puts every text near every other and would drop all negatives.
        temperature: (), a learned one; None = the settings' own.
    """
    query_compressed = _compress(model, batch.queries, config.micro_batch)
    passage_compressed = _compress(model, batch.passages, config.micro_batch)
    # bfloat16 rounds a cosine to 1/256: with a temperature of 0.05, a logit to almost a tenth
    with torch.autocast(query_compressed.device.type, enabled=False):
        queries, passages = embed(query_compressed), embed(passage_compressed)
        excluded = _excluded(queries.detach(), passages.detach(), batch, config, is_warm=is_warm)
        terms = _contrast(queries, passages, excluded, config, temperature)
        loss = torch.stack(list(terms.values())).sum()
        if temperature is not None:
            terms["temperature"] = temperature.detach()
        if config.distill:
            terms["distill"] = _taught(queries, passages, batch, config)
            loss = loss + config.distill * terms["distill"]
    own = torch.arange(len(queries), device=queries.device) * (len(passages) // len(queries))
    if config.gamma:
        nats = _generate(model, passage_compressed[own], batch.target, config.micro_batch)
        terms["nll_q"] = nats.sum() / batch.target.text_mask.sum()
        loss = loss + config.gamma * terms["nll_q"]
    if config.posterior:
        scores = queries.detach() @ passages.detach().T
        others = nearest_others(scores, own, excluded, n=config.posterior_passages)
        terms["posterior"] = _posterior(model, passage_compressed, own, others, batch, config)
        loss = loss + config.posterior * terms["posterior"]
    return {"loss": loss, **terms}


def nearest_others(scores: Tensor, own: Tensor, excluded: Tensor, *, n: int) -> Tensor:
    """The passages that a query is most easily led to in the place of its own.

    Args:
        scores: (B, P) cosines of queries with all passages of the batch.
        own: (B,) place of each query's own passage.
        excluded: (B, P) bool, no negatives.
        n: how many; fewer where the batch has no more.

    Returns:
        (B, n) int64, the best first; -1 = there is none.
    """
    barred = excluded.clone()
    barred[torch.arange(len(own), device=own.device), own] = True
    best = scores.masked_fill(barred, float("-inf")).topk(min(n, scores.shape[1] - 1), dim=1)
    return best.indices.masked_fill(best.values.isinf(), -1)


def _posterior(
    model: LbrModel,
    compressed: Tensor,
    own: Tensor,
    others: Tensor,
    batch: Stage2Batch,
    config: Stage2Config,
) -> Tensor:
    """`-log p(d | q)` by Bayes among a query's own passage and some others, all alike before.

    Scores are `log p(q | Z(d))` of the whole query: the decoder is trained to rank by what it is
    asked for when it reranks, and Z to keep what tells passages apart. Learning a generator to rank
    by its likelihoods: Li et al. 2023, arXiv:2306.15222.

    Args:
        model: in training mode.
        compressed: (P, k, D) of all passages.
        own: (B,) place of each query's own passage.
        others: (B, n) places of others; -1 = none.
        batch: whose targets are the queries.
        config: its `micro_batch`.

    Returns:
        () float32, nats, the mean over queries.
    """
    rows = torch.cat([own[:, None], others], dim=1)  # (B, 1 + n)
    target = batch.target.rows(torch.arange(len(own)).repeat_interleave(rows.shape[1]))
    candidates = compressed[rows.clamp(min=0).flatten()]
    nats = _generate(model, candidates, target, config.micro_batch).view(rows.shape)
    scores = (-nats).masked_fill(rows < 0, float("-inf"))
    return functional.cross_entropy(scores, torch.zeros_like(own))


def _compress(model: LbrModel, batch: TokenBatch, micro_batch: int) -> Tensor:
    """Z of all rows, (N, k, D); with `micro_batch` the graph of so many rows exists at once.

    Source: GradCache (Gao et al. 2021, arXiv:2101.06983). The vectors are made without a graph;
    when their gradients are known, each part is run again, with one, and its own gradients taken.
    """
    if not micro_batch:
        return model.compress(batch)[0]
    parts = [
        checkpoint(model.compress, part, use_reentrant=False)[0]
        for part in batch.split(micro_batch)
    ]
    return torch.cat(parts)


def _generate(model: LbrModel, compressed: Tensor, target: TokenBatch, micro_batch: int) -> Tensor:
    """`NLL(y | Z)` of each row, (N,) float32, nats of all its tokens; in parts as `_compress`."""
    size = micro_batch or len(compressed)
    nats = []
    for rows, part in zip(torch.split(compressed, size), target.split(size), strict=True):
        losses, mask = (
            checkpoint(model.token_nll, rows, part, use_reentrant=False)
            if micro_batch
            else model.token_nll(rows, part)
        )
        nats.append((losses * mask).sum(dim=1))
    return torch.cat(nats)


def _contrast(
    queries: Tensor,
    passages: Tensor,
    excluded: Tensor,
    config: Stage2Config,
    temperature: Tensor | None,
) -> dict[str, Tensor]:
    """InfoNCE of each trained size: "info_nce" of the whole, "info_nce@SIZE" of shorter ones."""
    scale = config.temperature if temperature is None else temperature
    n_passages = len(passages) // len(queries)
    whole, *shorter = vector_sizes(config, queries.shape[1])
    terms = {}
    for size in (whole, *shorter):
        asked, answers = shorten(queries, size), shorten(passages, size)
        term = info_nce(asked, answers, temperature=scale, excluded=excluded)
        if config.symmetric:
            # a query that a passage answers too is no negative of it: the same pairs, turned round
            turned = excluded[:, ::n_passages].T
            back = info_nce(answers[::n_passages], asked, temperature=scale, excluded=turned)
            term = (term + back) / 2
        terms["info_nce" if size == whole else f"info_nce@{size}"] = term
    return terms


def _excluded(
    queries: Tensor, passages: Tensor, batch: Stage2Batch, config: Stage2Config, *, is_warm: bool
) -> Tensor:
    """(B, B * G) bool: what shares a key with the query, and mined passages that look relevant."""
    excluded = torch.as_tensor(batch.excluded, device=queries.device)
    n_passages = len(passages) // len(queries)
    if n_passages == 1 or not is_warm:
        return excluded
    likely = false_negatives(queries, passages, margin=config.false_negative_margin)
    is_mined = torch.arange(len(passages), device=queries.device) % n_passages > 0
    return excluded | (likely & is_mined)


def _taught(queries: Tensor, passages: Tensor, batch: Stage2Batch, config: Stage2Config) -> Tensor:
    """Mean of one term for each teacher: of vectors, and of a query's own passages' scores."""
    vectors = torch.cat([queries, passages])
    temperature = config.temperature
    parts = [distillation(vectors, one, temperature=temperature) for one in batch.taught]
    if batch.judged:
        own = passages.view(len(queries), -1, passages.shape[1])  # (B, G, D)
        scores = (own * queries[:, None]).sum(dim=2) / temperature  # logits, as the teacher's
        compare = RANKING_TERMS[config.ranking_loss]
        parts += [compare(scores, one) for one in batch.judged]
    return torch.stack(parts).mean()
