"""The only training loop. Stages give it a batch and a loss; it steps, saves, resumes, stops."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from torch import nn

from lbr_search.errors import TrainingError
from lbr_search.train.execution import choose_precision, compile_layers
from lbr_search.train.log import Log
from lbr_search.train.optimizer import Optimizers, WeightAverage
from lbr_search.train.parallel import Team
from lbr_search.train.recipe import LoopConfig
from lbr_search.train.speedometer import Speedometer, Step
from lbr_search.train.state import TrainState, load_best, load_state, save_best, save_state
from lbr_search.train.step import Ahead, Batch, LossModule, Objective, Stepper

MAX_BAD_STEPS = 5
MAX_ROLLBACKS = 1
LOG_FILE = "log.jsonl"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitReport:
    """How a stage ended.

    Attributes:
        notes: what went otherwise than the recipe says, since `resumed_from`.
    """

    steps: int
    best_step: int
    best_score: float
    resumed_from: int
    n_bad_steps: int
    seconds: float
    precision: str
    notes: tuple[str, ...] = ()


def fit(
    model: nn.Module,
    config: LoopConfig,
    *,
    objective: Objective[Batch],
    folder: Path,
    progress: Callable[[Step], None] | None = None,
    team: Team | None = None,
) -> FitReport:
    """Train `model` in place and leave it at its best evaluated step.

    Stopped at any moment and called again with the same arguments, it goes on from its last
    checkpoint and ends with the weights that an uninterrupted run has (same machine and threads).

    Args:
        model: trained in place; fp32 parameters.
        config: steps, rates, precision.
        objective: batches, loss and evaluation.
        folder: for `state.safetensors`, `best.safetensors` and `log.jsonl`.
        progress: told of every step.
        team: the processes that train together; None = this one alone.

    Raises:
        ConfigError: the micro-batches of a step cannot be shared by the processes.
        TrainingError: the loss was not finite in several steps running, again after a roll-back;
            the memory is too small; the disk is full; `folder` holds another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _begin(model, config, objective, folder, team or Team.alone(model))
    resumed_from = run.state.counters.step
    speed = None if progress is None or run.is_over else Speedometer.of(run.stepper)
    if config.compile and not run.is_over and not compile_layers(model, run.team.device):
        run.note("compile = true had no effect: torch.compile does not work here")
    while not run.is_over:
        values = run.advance()
        if run.n_bad_running >= MAX_BAD_STEPS:
            run.roll_back()
            continue
        run.keep()
        if progress is not None and speed is not None:
            progress(speed.reading(values))
    run.team.wait()
    load_best(model, folder)
    counters = run.state.counters
    return FitReport(
        counters.step,
        counters.best_step,
        counters.best_score,
        resumed_from,
        counters.n_bad_steps,
        counters.seconds,
        counters.precision,
        tuple(run.notes),
    )


@dataclass(slots=True)
class _Run(Generic[Batch]):
    """A stage in training: what is done between steps."""

    stepper: Stepper[Batch]
    folder: Path
    log: Log
    notes: list[str]
    n_bad_running: int = 0

    @property
    def state(self) -> TrainState:
        return self.stepper.state

    @property
    def team(self) -> Team:
        return self.stepper.team

    @property
    def is_over(self) -> bool:
        """All steps are done, or the score has not risen for `patience` evaluations."""
        config, counters = self.stepper.config, self.state.counters
        is_stale = 0 < config.patience <= counters.n_stale
        return is_stale or counters.step >= config.steps

    def note(self, text: str) -> None:
        """Say and keep what goes otherwise than planned."""
        self.notes.append(text)
        if self.team.is_main:
            logger.warning("%s", text)

    def advance(self) -> dict[str, float]:
        """One step and its line in the log. Returns what the line holds."""
        started, n_parts = time.perf_counter(), self.state.counters.n_parts
        values = self.stepper.take()
        counters = self.state.counters
        is_bad = not math.isfinite(values["grad_norm"]) or not math.isfinite(values["loss"])
        self.n_bad_running = self.n_bad_running + 1 if is_bad else 0
        counters.n_bad_steps += is_bad
        counters.seconds += time.perf_counter() - started
        if counters.n_parts != n_parts:
            values["n_parts"] = counters.n_parts
        self.log.write(counters.step, **values, seconds=counters.seconds)
        return values

    def keep(self) -> None:
        """Evaluate and save, where it is time."""
        config, step = self.stepper.config, self.state.counters.step
        if self.n_bad_running and step < config.steps:
            return  # a state in the middle of bad steps is none to go back to
        is_better = _is_due(step, config.eval_every, config.steps) and self._evaluate()
        # a best step is saved at once, so that no roll-back goes behind it
        if is_better or self.is_over or _is_due(step, config.save_every, config.steps):
            self._save()

    def roll_back(self) -> None:
        """Go back to the last saved state and leave out the batches that led astray.

        Source: Chowdhery et al. 2022, PaLM, arXiv:2204.02311, sec. 5.1: from a checkpoint before
        the spike, with the batches around it skipped, the spike does not come again.

        Raises:
            TrainingError: there is no such state, or this is not the first time.
        """
        config, before = self.stepper.config, self.state.counters
        is_back = before.n_rollbacks < MAX_ROLLBACKS and load_state(self.state, config, self.folder)
        if not is_back:
            raise _diverged(before.step, before.n_rollbacks, config, self.folder)
        now = self.state.counters
        n_skipped = before.step - now.step
        now.n_skipped, now.n_rollbacks = before.n_skipped + n_skipped, before.n_rollbacks + 1
        now.n_bad_steps, now.seconds = before.n_bad_steps, before.seconds
        self.n_bad_running = 0
        self.note(
            f"the loss was not finite in {MAX_BAD_STEPS} steps running, the last {before.step}: "
            f"back to step {now.step}, the next {n_skipped} batches are left out"
        )
        self.team.wait()  # all have read the state before it is replaced
        self.log.rewind(now.step)
        self.log.write(now.step, rolled_back_from=before.step)
        self._save()

    def _save(self) -> None:
        if self.team.is_main:
            save_state(self.state, self.stepper.config, self.folder)

    def _evaluate(self) -> bool:
        """Measure, with the averaged weights if there are any; whether it is the best so far."""
        model, counters = self.state.model, self.state.counters
        model.eval()
        started = time.perf_counter()
        with self.state.average.applied(model):
            measures = self.team.from_main(self.stepper.objective.evaluate)
            is_better = measures["score"] > counters.best_score
            if is_better and self.team.is_main:
                save_best(model, self.folder)
        if is_better:
            counters.best_score, counters.best_step = measures["score"], counters.step
        counters.n_stale = 0 if is_better else counters.n_stale + 1
        self.log.write(counters.step, **measures, eval_seconds=time.perf_counter() - started)
        return is_better


def _begin(
    model: nn.Module,
    config: LoopConfig,
    objective: Objective[Batch],
    folder: Path,
    team: Team,
) -> _Run[Batch]:
    """A new run, or a stopped one where it stood."""
    team.share_of(config.accumulate)  # refused before anything is written
    average = WeightAverage(model, decay=config.ema_decay)
    state = TrainState(model, Optimizers(model, config), average)
    load_state(state, config, folder)
    team.wait()  # all have read the state before the first of them replaces it
    # chosen once a run: a resumed one must not measure again and go on otherwise
    state.counters.precision = state.counters.precision or team.from_main(
        lambda: choose_precision(config.precision, team.device)
    )
    log = Log(folder / LOG_FILE, upto=state.counters.step, is_writer=team.is_main)
    module = team.wrapped(LossModule(model, objective.loss))
    notes: list[str] = []
    ahead = Ahead(objective, is_on=team.device.type == "cuda")
    stepper = Stepper(state, config, objective, team, module, notes.append, ahead)
    run = _Run(stepper, folder, log, notes)
    stepper.note = run.note
    return run


def _is_due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def _diverged(step: int, n_rollbacks: int, config: LoopConfig, folder: Path) -> TrainingError:
    again = " again, after a roll-back" if n_rollbacks else ""
    return TrainingError(
        f"the loss was not finite in {MAX_BAD_STEPS} steps running{again}, the last {step}.",
        f"lower learning_rate (now {config.learning_rate}) and train into another folder; the last "
        f"good checkpoint is in {folder}",
    )
