"""The only training loop. Stages give it a batch and a loss; it steps, saves, resumes, stops."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from lbr_search.errors import TrainingError
from lbr_search.train.recipe import LoopConfig

Batch = TypeVar("Batch")
MAX_BAD_STEPS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """What a progress display needs."""

    step: int
    n_steps: int
    loss: float
    tokens_per_s: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class FitReport:
    """How a stage ended."""

    steps: int
    best_step: int
    best_score: float
    resumed_from: int
    n_bad_steps: int
    seconds: float
    precision: str


@dataclass(slots=True)
class _State:
    step: int = 0
    best_step: int = 0
    best_score: float = -math.inf
    n_bad_steps: int = 0
    seconds: float = 0.0
    precision: str = ""


@dataclass(frozen=True, slots=True)
class Objective(Generic[Batch]):
    """What a stage trains on and for.

    Attributes:
        batch: step -> batch; must give the same batch for the same step.
        loss: (batch, step) -> terms, of which "loss" is minimised.
        evaluate: -> measures, of which "score" (higher is better) chooses the best step.
    """

    batch: Callable[[int], Batch]
    loss: Callable[[Batch, int], dict[str, Tensor]]
    evaluate: Callable[[], dict[str, float]]


def fit(
    model: nn.Module,
    config: LoopConfig,
    *,
    objective: Objective[Batch],
    folder: Path,
    progress: Callable[[Step], None] | None = None,
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

    Raises:
        TrainingError: the loss was not finite in several steps running.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(model, config)
    state = _resume(model, optimizer, folder)
    resumed_from, log = state.step, _Log(folder / "log.jsonl", upto=state.step)
    # chosen once a run: a resumed one must not measure again and go on otherwise
    state.precision = state.precision or choose_precision(config.precision, _device(model))
    started, seconds_before = time.perf_counter(), state.seconds
    n_tokens, n_bad_running = 0, 0
    while state.step < config.steps:
        examples = objective.batch(state.step)
        rate = learning_rate(config, state.step)
        model.train()
        with torch.autocast(_device(model).type, torch.bfloat16, enabled=state.precision == "bf16"):
            terms = objective.loss(examples, state.step)
        values = {name: float(term.detach()) for name, term in terms.items()}
        norm = _update(model, optimizer, terms["loss"], rate=rate, clip_norm=config.clip_norm)
        is_bad = not math.isfinite(norm) or not math.isfinite(values["loss"])
        n_bad_running = n_bad_running + 1 if is_bad else 0
        state.n_bad_steps += is_bad
        state.step += 1
        n_tokens += count_tokens(examples)
        elapsed = time.perf_counter() - started
        state.seconds = seconds_before + elapsed
        log.write(state.step, **values, grad_norm=norm, lr=rate, seconds=state.seconds)
        if n_bad_running >= MAX_BAD_STEPS:
            raise _diverged(n_bad_running, state.step, config, folder)
        if _is_due(state.step, config.eval_every, config.steps):
            _evaluate(model, objective.evaluate, state, log, folder)
        if _is_due(state.step, config.save_every, config.steps):
            _save(model, optimizer, state, folder)
        if progress is not None:
            left = elapsed / (state.step - resumed_from) * (config.steps - state.step)
            progress(Step(state.step, config.steps, values["loss"], n_tokens / elapsed, left))
    _load_weights(model, folder / "best.safetensors")
    return FitReport(
        state.step,
        state.best_step,
        state.best_score,
        resumed_from,
        state.n_bad_steps,
        state.seconds,
        state.precision,
    )


def learning_rate(config: LoopConfig, step: int) -> float:
    """Warm-up, stable, decay: linear up, constant, linear down to zero.

    Source: Hu et al. 2024, MiniCPM, arXiv:2404.06395, sec. 4 (WSD).

    >>> config = LoopConfig(steps=10, learning_rate=1.0, warmup_steps=2, decay_share=0.5)
    >>> [learning_rate(config, step) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """
    up = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    decay_steps = max(1, round(config.steps * config.decay_share))
    down = (config.steps - step) / decay_steps
    return config.learning_rate * min(1.0, up, down)


def choose_precision(wanted: str, device: torch.device) -> str:
    """bf16 or fp32; "auto" times one matrix product of each and takes the faster.

    CPUs without matrix units multiply bfloat16 at half the speed of float32.
    """
    if wanted != "auto":
        return wanted
    if device.type != "cpu":
        return "bf16"
    seconds = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = torch.ones(1024, 384, dtype=dtype), torch.ones(384, 1024, dtype=dtype)
        times = []
        for _ in range(8):
            started = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - started)
        seconds[name] = min(times)
    return min(seconds, key=lambda name: seconds[name])


def count_tokens(examples: Any) -> int:  # noqa: ANN401 - a stage's batch record
    """Text tokens of all token batches in a batch record, padding left out."""
    parts = (getattr(examples, name) for name in getattr(examples, "__slots__", ()))
    return sum(int(part.text_mask.sum()) for part in parts if hasattr(part, "text_mask"))


def _optimizer(model: nn.Module, config: LoopConfig) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    rate = config.learning_rate
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-8, fused=True)


def _update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    rate: float,
    clip_norm: float,
) -> float:
    """One optimizer step, left out when the gradient is not finite. Returns its norm."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), clip_norm))
    if math.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def _diverged(n_bad: int, step: int, config: LoopConfig, folder: Path) -> TrainingError:
    return TrainingError(
        f"the loss was not finite in {n_bad} steps running, the last {step}.",
        f"lower learning_rate (now {config.learning_rate}); the run goes on from the checkpoint "
        f"in {folder}",
    )


def _evaluate(
    model: nn.Module,
    evaluate: Callable[[], dict[str, float]],
    state: _State,
    log: _Log,
    folder: Path,
) -> None:
    model.eval()
    started = time.perf_counter()
    measures = evaluate()
    log.write(state.step, **measures, eval_seconds=time.perf_counter() - started)
    if measures["score"] > state.best_score:
        state.best_score, state.best_step = measures["score"], state.step
        _write_tensors(_weights(model), {}, folder / "best.safetensors")


def _is_due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, tied ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, state: _State, folder: Path) -> None:
    """Weights, optimizer and counters in one file: renamed into place, so never half a state."""
    tensors = {f"weights/{name}": tensor for name, tensor in _weights(model).items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"optimizer/{index}/{name}"] = tensor
    counters = {name: getattr(state, name) for name in _State.__slots__}
    _write_tensors(tensors, {"counters": json.dumps(counters)}, folder / "state.safetensors")


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> _State:
    from safetensors import safe_open

    path = folder / "state.safetensors"
    if not path.is_file():
        return _State()
    weights: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt", device=str(_device(model))) as file:
        counters = json.loads(file.metadata()["counters"])
        for name in file.keys():  # noqa: SIM118 - not a dict
            kind, _, rest = name.partition("/")
            if kind == "weights":
                weights[rest] = file.get_tensor(name)
            else:
                index, _, moment = rest.partition("/")
                moments.setdefault(int(index), {})[moment] = file.get_tensor(name)
    _copy_weights(model, weights, path)
    state_dict = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": state_dict["param_groups"]})
    return _State(**counters)


def _load_weights(model: nn.Module, path: Path) -> None:
    from safetensors.torch import load_file

    _copy_weights(model, load_file(path, device=str(_device(model))), path)


def _copy_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    own = dict(model.named_parameters())
    if {name: p.shape for name, p in own.items()} != {n: t.shape for n, t in weights.items()}:
        raise TrainingError(
            f"{path} holds another model than the recipe describes.",
            f"train into another folder, or delete {path.parent} to start again",
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def _write_tensors(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    save_file({name: t.contiguous() for name, t in tensors.items()}, partial, metadata)
    partial.rename(path)


class _Log:
    """One JSON line a step; lines after the resumed step are dropped, they will come again."""

    def __init__(self, path: Path, *, upto: int) -> None:
        self._path = path
        if path.is_file():
            lines = path.read_text("utf-8").splitlines()
            # the last line may be half written after a kill
            whole = [line for line in lines if line.endswith("}")]
            kept = [line for line in whole if json.loads(line)["step"] <= upto]
            path.write_text("".join(f"{line}\n" for line in kept), "utf-8")

    def write(self, step: int, **values: float) -> None:
        rounded = {name: round(value, 6) for name, value in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **rounded}) + "\n")
