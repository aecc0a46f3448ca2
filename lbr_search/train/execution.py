"""How a step is executed: precision, compiled layers, and what running out of memory looks like."""

from __future__ import annotations

import logging
import time

import torch
from torch import nn

from lbr_search.train.optimizer import repeated_layers

logger = logging.getLogger(__name__)

CPU_OUT_OF_MEMORY = "can't allocate memory"
"""In the message of torch's CPU allocator, which has no exception class of its own."""


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


def compile_layers(model: nn.Module, device: torch.device) -> bool:
    """Compile every repeated layer in place; parameter names stay as they are.

    Only the layers: what is around them depends on the data, and equal layers share their code.
    Where there is no working compiler (on CPUs a C++ one) nothing is changed, and a warning says
    so.

    Returns:
        Whether the layers are compiled.
    """
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except RuntimeError as error:  # every failure of the compiler is one
        reason = " ".join(str(error).partition("\n\n")[0].split())
        logger.warning("compile = true has no effect, torch.compile fails here: %s", reason)
        return False
    for layer in repeated_layers(model):
        layer.compile(dynamic=True)
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failed step ran out of memory, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and CPU_OUT_OF_MEMORY in str(error)
