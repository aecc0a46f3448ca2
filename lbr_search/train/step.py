"""One optimizer step: micro-batches -> gradients -> update, in as much memory as there is."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from lbr_search.errors import TrainingError
from lbr_search.train.execution import is_out_of_memory
from lbr_search.train.optimizer import learning_rate
from lbr_search.train.parallel import Team
from lbr_search.train.recipe import LoopConfig
from lbr_search.train.state import TrainState

Batch = TypeVar("Batch")
PHASES = ("data_s", "forward_s", "backward_s", "optimizer_s")
"""Where the seconds of a step go, as `log.jsonl` names them."""


@dataclass(frozen=True, slots=True)
class Objective(Generic[Batch]):
    """What a stage trains on and for.

    Attributes:
        batch: number -> micro-batch; must give the same one for the same number. A step takes the
            next `accumulate` of them.
        loss: (micro-batch, its number) -> terms, of which "loss" is minimised.
        evaluate: -> measures, of which "score" (higher is better) chooses the best step.
        split: (micro-batch, n) -> parts with their shares, for one that does not fit the memory;
            fewer than n where it cannot be cut so often.
        needs_model: number -> whether the model as it stands decides that micro-batch, which then
            cannot be made while the step before it is computed.
    """

    batch: Callable[[int], Batch]
    loss: Callable[[Batch, int], dict[str, Tensor]]
    evaluate: Callable[[], dict[str, float]]
    split: Callable[[Batch, int], list[tuple[Batch, float]]] | None = None
    needs_model: Callable[[int], bool] = lambda _: False


def count_tokens(examples: Any) -> int:  # noqa: ANN401 - a stage's batch record
    """Text tokens of all token batches in a batch record, padding left out."""
    parts = (getattr(examples, name) for name in getattr(examples, "__slots__", ()))
    return sum(int(part.text_mask.sum()) for part in parts if hasattr(part, "text_mask"))


class LossModule(nn.Module):
    """The loss as a module around the model: what data parallelism can wrap."""

    def __init__(self, model: nn.Module, loss: Callable[..., dict[str, Tensor]]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, examples: object, number: int) -> dict[str, Tensor]:
        """Terms of a micro-batch."""
        return self._loss(examples, number)


class Ahead(Generic[Batch]):
    """Makes the next micro-batch in a thread while a GPU computes the one before.

    On a CPU both would want the same cores, so there every batch is made when it is asked for.

    Args:
        objective: makes the batches.
        is_on: whether to work ahead.
    """

    def __init__(self, objective: Objective[Batch], *, is_on: bool) -> None:
        self._objective = objective
        self._threads = ThreadPoolExecutor(max_workers=1) if is_on else None
        self._number = -1
        self._made: Future[Batch] | None = None

    def batch(self, number: int, *, following: int) -> Batch:
        """The micro-batch of a number; then the `following` one is begun, if it may be."""
        made, self._made = self._made, None
        if made is not None and self._number == number:
            examples = made.result()
        else:
            if made is not None:  # a roll-back or smaller parts: what was begun is not wanted
                made.exception()
            examples = self._objective.batch(number)
        if self._threads is not None and not self._objective.needs_model(following):
            self._number = following
            self._made = self._threads.submit(self._objective.batch, following)
        return examples


@dataclass(slots=True)
class Stepper(Generic[Batch]):
    """Takes the steps of a run.

    Attributes:
        module: the loss, wrapped for the team.
        note: told, in words, what goes otherwise than planned.
        ahead: gives the micro-batches.
        clock: seconds of the last step by phase.
    """

    state: TrainState
    config: LoopConfig
    objective: Objective[Batch]
    team: Team
    module: nn.Module
    note: Callable[[str], None]
    ahead: Ahead[Batch]
    clock: dict[str, float] = field(default_factory=dict)

    @property
    def first_number(self) -> int:
        """Number of the next step's first micro-batch."""
        counters = self.state.counters
        return (counters.step + counters.n_skipped) * self.config.accumulate

    def take(self) -> dict[str, float]:
        """One step. Returns the mean terms, "tokens", "grad_norm", "lr" and the seconds by phase.

        The update is left out, and the step counts all the same, where the gradient is not finite.

        Raises:
            TrainingError: the memory does not hold the smallest part of a micro-batch.
        """
        self.clock = dict.fromkeys(PHASES, 0.0)
        rate = learning_rate(self.config, self.state.counters.step)
        self.state.model.train()
        values = self.team.total(self._gradients())
        norm = self._update(rate)
        self.state.counters.step += 1
        return {**values, "grad_norm": norm, "lr": rate, **self.clock}

    def autocast(self) -> torch.autocast:
        """The precision of the forward pass."""
        is_bf16 = self.state.counters.precision == "bf16"
        return torch.autocast(self.team.device.type, torch.bfloat16, enabled=is_bf16)

    def _gradients(self) -> dict[str, float]:
        """Mean terms of the step, its gradients in place; smaller parts where memory runs out."""
        while True:
            try:
                return self._accumulate()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = (str(error) or "MemoryError").splitlines()[0]
            # outside of the handler, whose traceback holds the tensors of the failed pass
            self._halve(reason)

    def _accumulate(self) -> dict[str, float]:
        """Forward and backward of this process's micro-batches."""
        n, mine = self.config.accumulate, self.team.share_of(self.config.accumulate)
        totals: dict[str, float] = {"tokens": 0.0}
        for place, micro in enumerate(mine):
            number = self.first_number + micro
            next_one = mine[place + 1] if place + 1 < len(mine) else mine[0] + n
            with self._timed("data_s"):
                examples = self.ahead.batch(number, following=self.first_number + next_one)
            # before the passes: on a GPU the sum would wait for them, and its time be no phase's
            totals["tokens"] += count_tokens(examples)
            # every random number is a function of the micro-batch, so none must be saved
            torch.manual_seed(number)
            parts = self._parts(examples)
            for part_number, (part, share) in enumerate(parts):
                is_last = micro == mine[-1] and part_number == len(parts) - 1
                for name, value in self._add(part, number, share / n, is_last).items():
                    totals[name] = totals.get(name, 0.0) + value
        return totals

    def _add(self, part: Batch, number: int, share: float, is_last: bool) -> dict[str, float]:
        """Add the gradients of one part; only the last one waits for the other processes."""
        waits = contextlib.nullcontext() if is_last else self.team.without_sync(self.module)
        with waits:
            with self._timed("forward_s"):
                with self.autocast():
                    terms = self.module(part, number)
                weighted = torch.stack([term.detach().float() for term in terms.values()]) * share
                values = dict(zip(terms, weighted.tolist(), strict=True))
            with self._timed("backward_s"):
                # the processes' gradients are averaged, so each counts times their number
                (terms["loss"] * (share * self.team.size)).backward()
        return values

    def _update(self, rate: float) -> float:
        """One optimizer step, left out when the gradient is not finite. Returns its norm."""
        state = self.state
        with self._timed("backward_s"):  # where a GPU's backward pass is waited for
            norm = float(nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip_norm))
        with self._timed("optimizer_s"):
            if math.isfinite(norm):
                state.optimizers.step(rate=rate)
                state.average.update(state.model, step=state.counters.step + 1)
            state.optimizers.forget_gradients()
        return norm

    def _parts(self, examples: Batch) -> list[tuple[Batch, float]]:
        if self.state.counters.n_parts == 1 or self.objective.split is None:
            return [(examples, 1.0)]
        return self.objective.split(examples, self.state.counters.n_parts)

    def _halve(self, reason: str) -> None:
        """Cut micro-batches into twice as many parts from here on, if they can be cut."""
        counters = self.state.counters
        self.state.optimizers.forget_gradients()
        if self.team.device.type == "cuda":
            torch.cuda.empty_cache()
        counters.n_parts *= 2
        parts = self._parts(self.objective.batch(self.first_number))
        # in several processes the others are waiting for this one's gradients by now
        if self.team.size > 1 or len(parts) < counters.n_parts:
            raise TrainingError(
                f"step {counters.step + 1} does not fit the memory: {reason}",
                "make the stage's batch smaller (batch_tokens or batch_size) and raise accumulate "
                "by as much",
            )
        self.note(
            f"out of memory at step {counters.step + 1}: from here on a batch is computed in "
            f"{counters.n_parts} parts (stage 2: with the negatives of a part only)"
        )

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.clock[phase] += time.perf_counter() - started
