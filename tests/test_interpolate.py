"""Weights between the start and the end of a training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lbr_search.train.interpolate import Interpolation, keep_best_share


def with_weight(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


@pytest.mark.parametrize(
    ("optimum", "share", "weight"), [(1.9, 0.25, 2.0), (0.0, 0.0, 1.0), (9.0, 1.0, 5.0)]
)
def test_the_share_nearest_to_the_optimum_is_kept(optimum: float, share: float, weight: float):
    model = with_weight(5.0)
    found = keep_best_share(
        model,
        with_weight(1.0),
        [1.0, 0.25, 0.0],
        measure=lambda: -abs(model.weight.item() - optimum),
    )
    assert found.share == share
    assert model.weight.item() == weight
    assert found.scores == {s: -abs(1 + 4 * s - optimum) for s in (0.0, 0.25, 1.0)}


def test_of_equal_scores_the_smaller_change_wins_and_the_ends_are_exact():
    model, start = nn.Linear(5, 5), nn.Linear(5, 5)
    found = keep_best_share(model, start, [0.0, 0.5, 1.0], measure=lambda: 0.5)
    assert found.share == 0
    assert torch.equal(model.weight, start.weight)
    assert "the start is at least as good" in found.sentence
    assert "kept 0.5 of it" in Interpolation(0.5, {0.5: 0.9}).sentence
