"""Loss terms against six-line numpy versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lbr_search.errors import ShapeError
from lbr_search.train.losses import (
    effective_rank,
    false_negatives,
    info_nce,
    margin_mse,
    ranking_divergence,
    token_divergence,
    weighted_mean,
)


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def numpy_info_nce(queries, passages, temperature, excluded=None):
    per_query, losses = len(passages) // len(queries), []
    for i, query in enumerate(queries):
        scores = passages @ query / temperature
        keep = np.ones(len(passages), bool) if excluded is None else ~excluded[i]
        keep[i * per_query] = True
        losses.append(np.log(np.exp(scores[keep]).sum()) - scores[i * per_query])
    return np.mean(losses)


@pytest.mark.parametrize("per_query", [1, 3])
@pytest.mark.parametrize("is_excluding", [False, True])
def test_info_nce_equals_numpy(per_query: int, is_excluding: bool):
    """In-batch and mined negatives, with and without exclusions, positives always kept."""
    queries, passages = unit(4, 8, 0), unit(4 * per_query, 8, 1)
    excluded = np.random.default_rng(2).random((4, 4 * per_query)) < 0.4 if is_excluding else None
    loss = info_nce(
        torch.tensor(queries),
        torch.tensor(passages),
        temperature=0.05,
        excluded=None if excluded is None else torch.tensor(excluded),
    )
    expected = numpy_info_nce(queries, passages, 0.05, excluded)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)


def test_info_nce_refuses_uneven_passages():
    """5 passages for 2 queries cannot say which is whose."""
    with pytest.raises(ShapeError, match="5 passages are not a multiple of 2"):
        info_nce(torch.ones(2, 3), torch.ones(5, 3), temperature=1.0)


def test_false_negatives_are_relative_to_the_positive():
    """Above 95 % of a positive's score is excluded; a positive score of 0 or less excludes none."""
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    passages = torch.tensor([[0.9, 0.1], [0.86, 0.2], [0.5, -0.1], [0.1, 0.9]])
    found = false_negatives(queries, passages, margin=0.95)
    assert found.tolist() == [[True, True, False, False], [False] * 4]
    assert not false_negatives(queries, passages, margin=0.96)[0, 1]


def test_effective_rank_counts_directions():
    """Equal spread over r directions has effective rank r; a line has 1."""
    axes = torch.cat([torch.eye(5), -torch.eye(5)])
    assert effective_rank(axes) == pytest.approx(5, rel=1e-5)
    line = torch.linspace(-1, 1, 9)[:, None] * torch.ones(1, 5)
    assert effective_rank(line) == pytest.approx(1, rel=1e-3)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_divergences_equal_numpy():
    """Of rankings: the mean over queries; of tokens: one value each, from teacher to student."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(5, 4)) * 2, rng.normal(size=(5, 4)) * 2
    p, q = softmax(theirs), softmax(ours)
    expected = (p * np.log(p / q)).sum(axis=1)
    found = token_divergence(torch.tensor(ours), torch.tensor(theirs)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    ranked = ranking_divergence(torch.tensor(ours), torch.tensor(theirs)).item()
    assert ranked == pytest.approx(expected.mean(), rel=1e-6)


def test_margin_mse_by_hand():
    """Margins 2 and 1 against 3 and -1: (1 + 4) / 2; a shift of all scores changes nothing."""
    ours, theirs = torch.tensor([[5.0, 3.0, 4.0]]), torch.tensor([[1.0, -2.0, 2.0]])
    assert margin_mse(ours, theirs).item() == pytest.approx(2.5)
    assert margin_mse(ours + 7, theirs - 3).item() == pytest.approx(2.5)


def test_a_weighted_mean_is_weighted():
    """(1 * 2 + 3 * 6) / 4; without weights the plain mean."""
    losses = torch.tensor([2.0, 6.0])
    assert weighted_mean(losses, torch.tensor([1.0, 3.0])).item() == pytest.approx(5)
    assert weighted_mean(losses, None).item() == pytest.approx(4)
