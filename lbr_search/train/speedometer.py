"""How fast a run is: tokens and operations a second, and the time left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from lbr_search.train.flops import peak_flops, training_flops
from lbr_search.train.step import Batch, Stepper, count_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """What a progress display needs.

    Attributes:
        flops_per_token: operations of training, of this stage.
        peak_share: operations a second over the most that the machine can do; None = not known.
    """

    step: int
    n_steps: int
    loss: float
    tokens_per_s: float
    seconds_left: float
    flops_per_token: float = 0.0
    peak_share: float | None = None


@dataclass(slots=True)
class Speedometer:
    """Rates since this process began to train.

    Attributes:
        flops_per_token: of this stage, counted on its next micro-batch.
        peak: operations a second of all processes' devices; None = not known.
    """

    stepper: Stepper[Any]
    flops_per_token: float
    peak: float | None
    first_step: int
    started: float
    n_tokens: float = 0.0

    @staticmethod
    def of(stepper: Stepper[Batch]) -> Speedometer:
        """Count one forward pass, and measure or look up the peak."""
        state, number = stepper.state, stepper.first_number
        examples = stepper.objective.batch(number)
        state.model.train()
        torch.manual_seed(number)  # the pass draws what the step will draw, and leaves no trace

        def forward() -> object:
            with stepper.autocast():
                return stepper.objective.loss(examples, number)

        flops = training_flops(forward) / max(1, count_tokens(examples))
        peak = peak_flops(stepper.team.device, state.counters.precision)
        peak = None if peak is None else peak * stepper.team.size
        return Speedometer(stepper, flops, peak, state.counters.step, time.perf_counter())

    def reading(self, values: dict[str, float]) -> Step:
        """The rates after a step that gave `values`."""
        counters, config = self.stepper.state.counters, self.stepper.config
        self.n_tokens += values["tokens"]
        elapsed = time.perf_counter() - self.started
        rate = self.n_tokens / elapsed
        n_done = max(1, counters.step - self.first_step)
        left = elapsed / n_done * (config.steps - counters.step)
        share = None if self.peak is None else rate * self.flops_per_token / self.peak
        return Step(
            counters.step, config.steps, values["loss"], rate, left, self.flops_per_token, share
        )
