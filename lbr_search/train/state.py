"""What a stopped run goes on from: weights, moments and counters in one file, replaced at once."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lbr_search.config import to_mapping
from lbr_search.errors import TrainingError
from lbr_search.train.disk import disk_errors
from lbr_search.train.optimizer import Optimizers, WeightAverage, copy_weights
from lbr_search.train.recipe import LoopConfig

STATE_FILE, BEST_FILE = "state.safetensors", "best.safetensors"


@dataclass(slots=True)
class Counters:
    """Where a run stands.

    Attributes:
        n_stale: evaluations since the best one.
        n_skipped: steps whose batches are left out since a roll-back.
        n_parts: parts that each micro-batch is cut into, because it did not fit the memory.
        precision: bf16 or fp32, chosen once a run.
    """

    step: int = 0
    best_step: int = 0
    best_score: float = -math.inf
    n_stale: int = 0
    n_bad_steps: int = 0
    n_rollbacks: int = 0
    n_skipped: int = 0
    n_parts: int = 1
    seconds: float = 0.0
    precision: str = ""


@dataclass(slots=True)
class TrainState:
    """All that training changes."""

    model: nn.Module
    optimizers: Optimizers
    average: WeightAverage
    counters: Counters = field(default_factory=Counters)


def save_state(state: TrainState, config: LoopConfig, folder: Path) -> None:
    """Write all of it in one file, renamed into place, so never half a state.

    Raises:
        TrainingError: the disk is full; the state before is kept.
    """
    groups = {
        "weights": _weights(state.model),
        "optimizer": state.optimizers.tensors(),
        "average": state.average.tensors,
    }
    tensors = {f"{kind}/{name}": t for kind, part in groups.items() for name, t in part.items()}
    metadata = {
        "counters": json.dumps(dataclasses.asdict(state.counters)),
        "config": json.dumps(to_mapping(config)),
    }
    write_tensors(tensors, metadata, folder / STATE_FILE)


def load_state(state: TrainState, config: LoopConfig, folder: Path) -> bool:
    """Take back what `save_state` wrote; false where it wrote nothing.

    Raises:
        TrainingError: the file is damaged, or of another model or other settings.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return False
    tensors, metadata = read_tensors(path, _device(state.model))
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}, "average": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        groups[kind][rest] = tensor
    _check_same_model(state.model, groups["weights"], path)
    _check_same_settings(json.loads(metadata["config"]), to_mapping(config), path)
    copy_weights(state.model, groups["weights"])
    state.optimizers.load(groups["optimizer"])
    state.average.tensors = groups["average"]
    state.counters = Counters(**json.loads(metadata["counters"]))
    return True


def save_best(model: nn.Module, folder: Path) -> None:
    """Keep these weights as the best so far.

    Raises:
        TrainingError: the disk is full; the best before are kept.
    """
    write_tensors(_weights(model), {}, folder / BEST_FILE)


def load_best(model: nn.Module, folder: Path) -> None:
    """Put the best weights into the model.

    Raises:
        TrainingError: the file is damaged, or of another model.
    """
    path = folder / BEST_FILE
    tensors, _ = read_tensors(path, _device(model))
    _check_same_model(model, tensors, path)
    copy_weights(model, tensors)


def write_tensors(tensors: Mapping[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write beside `path`, then rename."""
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    with disk_errors(path.parent):
        try:
            save_file({name: t.contiguous() for name, t in tensors.items()}, partial, metadata)
        except BaseException:
            partial.unlink(missing_ok=True)  # its space is what the user needs
            raise
        partial.replace(path)


def read_tensors(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file.

    Raises:
        TrainingError: it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path} is damaged: {error}", f"delete {path.parent} to start this stage again"
        ) from error


def first_unlike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """The first name whose tensor has another shape in `other`, or is absent in one; "" = none.

    >>> first_unlike({"a": torch.ones(2), "b": torch.ones(3)}, {"a": torch.ones(2)})
    'b is (3,) in one and absent in the other'
    """
    shapes, others = (
        {name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (one, other)
    )
    for name in sorted(shapes.keys() | others.keys()):
        here, there = shapes.get(name, "absent"), others.get(name, "absent")
        if here != there:
            return f"{name} is {here} in one and {there} in the other"
    return ""


def _check_same_model(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    if unlike := first_unlike(weights, dict(model.named_parameters())):
        raise TrainingError(
            f"{path} holds another model than the recipe describes: {unlike}.",
            f"train into another folder, or delete {path.parent} to start again",
        )


def _check_same_settings(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    changed = [name for name in now if name in before and before[name] != now[name]]
    if changed:
        told = ", ".join(
            f"{name} = {before[name]!r} there and {now[name]!r} here" for name in changed
        )
        raise TrainingError(
            f"{path} was written with other settings: {told}.",
            f"go on with the settings of that run, or delete {path.parent} to start again",
        )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, tied ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}
