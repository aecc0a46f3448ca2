"""The processes that train together, each with a copy of the model (data parallel).

Started by `accelerate launch` or `torchrun`; one process alone needs neither. A step has
`accumulate` micro-batches, whatever the number of processes: they are shared out, their gradients
are averaged over all processes, and every process takes the same step. So the loss curve is that of
one process, and a run may go on with another number of them. Negatives of a contrastive loss are
those of its micro-batch: they are not gathered across processes. Every process holds the whole
model (DDP): checkpoints and averaged weights are written by one of them, so a sharded one (FSDP) is
refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from lbr_search.errors import ConfigError, MissingExtraError

T = TypeVar("T")
DATA_PARALLEL = ("MULTI_GPU", "MULTI_CPU")
"""Kinds of accelerate in which each process has all weights."""


@dataclass(frozen=True, slots=True)
class Team:
    """This process and the others.

    Attributes:
        accelerator: of accelerate; None = this process is alone.
    """

    rank: int
    size: int
    device: torch.device
    accelerator: Any = None

    @staticmethod
    def alone(model: nn.Module) -> Team:
        """One process, where the model is."""
        return Team(0, 1, next(model.parameters()).device)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over the processes."""
        if self.accelerator is None:
            return module
        prepared: nn.Module = self.accelerator.prepare_model(module)
        return prepared

    def without_sync(self, module: nn.Module) -> AbstractContextManager[Any]:
        """A block whose backward passes keep their gradients to this process for now."""
        if self.accelerator is None:
            return nullcontext()
        block: AbstractContextManager[Any] = self.accelerator.no_sync(module)
        return block

    def total(self, values: dict[str, float]) -> dict[str, float]:
        """Sum of each value over the processes; all must give the same names."""
        if self.accelerator is None:
            return values
        # float64, so that a sum of two halves is what one process would have logged
        summed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(summed)
        return dict(zip(values, summed.tolist(), strict=True))

    def from_main(self, measure: Callable[[], T]) -> T:
        """What the main process measures, in all of them."""
        if self.accelerator is None:
            return measure()
        held: list[Any] = [measure() if self.is_main else None]
        torch.distributed.broadcast_object_list(held, src=0)
        told: T = held[0]
        return told

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A block that the main process runs before the others: it fills caches, they read them."""
        with nullcontext() if self.accelerator is None else self.accelerator.main_process_first():
            yield

    def wait(self) -> None:
        """Until every process is here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def share_of(self, n: int) -> range:
        """Which of a step's `n` micro-batches are this process's.

        Raises:
            ConfigError: they cannot be shared out evenly.
        """
        if n % self.size:
            raise ConfigError(
                f"accumulate = {n} micro-batches a step cannot be shared by {self.size} processes.",
                f"set accumulate to a multiple of {self.size}, or start another number",
            )
        return range(self.rank, n, self.size)


def join_team() -> Team:
    """The processes that were started together with this one.

    Raises:
        MissingExtraError: there are several, and accelerate is not installed.
    """
    has_gpu = torch.cuda.is_available()
    # torchrun and accelerate tell a process of the others by this variable; there is no other way
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Team(0, 1, torch.device("cuda" if has_gpu else "cpu"))
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"training in several processes needs the package {error.name!r}, "
            "which is not installed.",
            'pip install "lbr-search[train]"',
        ) from error
    # a stage without its generative term leaves the bridge out
    options = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=not has_gpu, mixed_precision="no", kwargs_handlers=[options])
    if str(accelerator.distributed_type.value) not in DATA_PARALLEL:
        raise ConfigError(
            f"accelerate was configured for {accelerator.distributed_type.value}; training here is "
            "data parallel, with the whole model in each process.",
            "start it with torchrun, or with: accelerate launch --multi_gpu",
        )
    return Team(
        accelerator.process_index, accelerator.num_processes, accelerator.device, accelerator
    )
