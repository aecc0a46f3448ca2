"""Loss terms as pure functions of tensors. Axes: ``B`` queries, ``G`` passages a query, ``D``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lbr_search.errors import ShapeError


def info_nce(
    query_emb: Tensor,
    passage_emb: Tensor,
    *,
    temperature: float | Tensor,
    excluded: Tensor | None = None,
) -> Tensor:
    """Contrastive loss with in-batch negatives.

    Row ``i * G`` of `passage_emb` is the positive of query ``i``; all other rows are its negatives,
    but for the excluded ones.
    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4; in-batch negatives as in Karpukhin
    et al. 2020, arXiv:2004.04906, sec. 3.2.

    Args:
        query_emb: (B, D) float32, rows of length 1.
        passage_emb: (B * G, D) float32, rows of length 1, G >= 1 passages a query.
        temperature: > 0, no unit; scores are divided by it.
        excluded: (B, B * G) bool; true = not a negative of this query. Positives are never
            excluded, whatever it says.

    Returns:
        () float32, mean over the B queries, in nats.

    Raises:
        ShapeError: the rows of `passage_emb` are not a multiple of B.
    """
    n_queries, n_passages = len(query_emb), len(passage_emb)
    if n_queries == 0 or n_passages % n_queries:
        raise ShapeError(
            f"{n_passages} passages are not a multiple of {n_queries} queries.",
            "give the same number of passages for every query",
        )
    scores = query_emb @ passage_emb.T / temperature  # (B, B * G)
    positive = positive_positions(n_queries, n_passages, device=scores.device)
    if excluded is not None:
        keep = excluded.clone()
        keep[torch.arange(n_queries), positive] = False
        scores = scores.masked_fill(keep, float("-inf"))
    return functional.cross_entropy(scores, positive)


def false_negatives(query_emb: Tensor, passage_emb: Tensor, *, margin: float) -> Tensor:
    """Which negatives score above `margin` times their query's positive: likely relevant.

    Source: the relative-margin filter of hard-negative mining (Moreira et al. 2024,
    arXiv:2407.15831, "positive-aware"), applied to every passage of the batch.

    Args:
        query_emb: (B, D) float32, rows of length 1.
        passage_emb: (B * G, D) float32.
        margin: share of the positive's score, above 0, at most 1. A positive of score <= 0
            excludes nothing.

    Returns:
        (B, B * G) bool.
    """
    scores = query_emb @ passage_emb.T
    places = positive_positions(len(query_emb), len(passage_emb), device=scores.device)
    positive = scores.gather(1, places[:, None])  # (B, 1)
    return (scores > margin * positive) & (positive > 0)


def distillation(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """How far the student's vectors are from a teacher's.

    Where both have the same size, the mean of 1 - cosine, so that the student can take the
    teacher's place; else the divergence of how each text of the batch ranks the others
    (Hinton et al. 2015, arXiv:1503.02531, on similarities).

    Args:
        student: (N, D) float32, rows of length 1.
        teacher: (N, D') float32, rows of length 1; no gradient.
        temperature: > 0; used where the sizes differ.

    Returns:
        () float32, >= 0.
    """
    if student.shape == teacher.shape:
        return (1 - (student * teacher).sum(dim=1)).mean()
    itself = torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours, theirs = (
        (vectors @ vectors.T / temperature).masked_fill(itself, -1e9)
        for vectors in (student, teacher)
    )
    return functional.kl_div(
        ours.log_softmax(dim=1), theirs.log_softmax(dim=1), reduction="batchmean", log_target=True
    )


def ranking_divergence(scores: Tensor, teacher: Tensor) -> Tensor:
    """How differently a query's passages share its probability: mean `KL(teacher || ours)`.

    Source: Hinton et al. 2015, arXiv:1503.02531, over the passages of one query.

    Args:
        scores: (B, G) logits of each query's own passages.
        teacher: (B, G) logits of the teacher; no gradient.

    Returns:
        () float32, mean over queries, in nats.
    """
    ours, theirs = scores.log_softmax(dim=1), teacher.log_softmax(dim=1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def margin_mse(scores: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the margins by which the positive leads each other passage.

    Source: Hofstätter et al. 2020, arXiv:2010.02666. Arguments as `ranking_divergence`, the
    positive first; mean over the B * (G - 1) margins.
    """
    ours, theirs = (logits[:, :1] - logits[:, 1:] for logits in (scores, teacher))
    return functional.mse_loss(ours, theirs)


RANKING_TERMS = {"kl": ranking_divergence, "margin-mse": margin_mse}


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of the losses of tokens, (M,), by their weights, (M,) > 0; None = all alike."""
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum()


def token_divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """`KL(wanted || expected)` at each token, (M, V) logits of both -> (M,) float32, nats, >= 0.

    Source: Hinton et al. 2015, arXiv:1503.02531, at temperature 1.
    """
    ours, theirs = logits.float().log_softmax(dim=-1), wanted.float().log_softmax(dim=-1)
    return functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1)


def positive_positions(n_queries: int, n_passages: int, *, device: torch.device) -> Tensor:
    """Row of each query's positive among the passages: 0, G, 2G, … as (B,) int64."""
    return torch.arange(n_queries, device=device) * (n_passages // n_queries)


def effective_rank(vectors: Tensor) -> float:
    """How many directions are in use: exp of the entropy of the normalised singular values.

    Source: Roy and Vetterli 2007, "The effective rank". Vectors are centred first.

    Args:
        vectors: (N, D), N >= 2.

    Returns:
        Between 1 and min(N, D).
    """
    centred = vectors.float() - vectors.float().mean(dim=0)
    singular = torch.linalg.svdvals(centred)
    share = singular / singular.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))
