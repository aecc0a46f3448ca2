"""Weights between those that training began with and those that it ended with, chosen on dev.

What a model learns of one corpus costs some of what it knew; between the two ends there is often a
point that keeps both. Source: Wortsman et al. 2022, *Robust fine-tuning of zero-shot models*,
arXiv:2109.01903. With the start among the choices, training never makes dev worse.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

FILE = "interpolation.json"


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Which share of the change was kept, and the dev score of each share that was tried."""

    share: float
    scores: Mapping[float, float]

    @property
    def sentence(self) -> str:
        """What was tried and taken, for the user."""
        tried = ", ".join(f"{share:g}: {score:.4f}" for share, score in self.scores.items())
        taken = (
            "nothing that was learnt: the start is at least as good"
            if self.share == 0
            else f"{self.share:g} of it"
        )
        return f"dev score by share of the change from the start: {tried}; kept {taken}"


def keep_best_share(
    model: nn.Module,
    start: nn.Module,
    shares: Sequence[float],
    *,
    measure: Callable[[], float],
) -> Interpolation:
    """Leave `model` at start + share * (model - start), for the share that dev likes best.

    Args:
        model: trained; changed in place.
        start: the same network as it was before any step.
        shares: to try, each 0 to 1.
        measure: dev score of `model` as it then is; higher is better. Of equal scores the smaller
            share wins.
    """
    begun, ended = _weights(start), _weights(model)

    @torch.no_grad()
    def move(share: float) -> None:
        """Tensor by tensor, so that no further copy of a large model is held."""
        for name, weight in model.named_parameters():
            one, other = begun[name].to(weight.device), ended[name]
            weight.copy_(torch.lerp(one, other, share))  # both ends bit for bit

    scores = {}
    for share in sorted(map(float, shares)):
        move(share)
        scores[share] = measure()
    best = max(scores, key=lambda share: (scores[share], -share))
    move(best)
    return Interpolation(best, scores)


def write_interpolation(found: Interpolation, folder: Path) -> None:
    """Put it into a stage's folder, for the card; beside, then renamed, so never half of it."""
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps(asdict(found)), "utf-8")
    partial.replace(folder / FILE)


def read_interpolation(folder: Path) -> Interpolation | None:
    """What `write_interpolation` put into a stage's folder; None = nothing."""
    path = folder / FILE
    if not path.is_file():
        return None
    found = json.loads(path.read_text("utf-8"))
    scores = {float(share): score for share, score in found["scores"].items()}
    return Interpolation(found["share"], scores)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}
