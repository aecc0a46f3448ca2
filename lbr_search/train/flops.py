"""Floating-point operations of training, counted, and the most that this machine can do.

A multiplication and an addition are two operations. Only matrix products and attention count, as
usual; a training step is three forward passes (forward, and two products for each in backward).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

GPU_PEAKS = {  # name as torch gives it, in part -> dense bf16 operations a second
    "H200": 790e12,  # what large matrix products reach; the data sheet says 989e12
    "H100": 790e12,
    "A100": 280e12,  # the data sheet says 312e12
}
TRAINING_PER_FORWARD = 3
MATRIX = (1024, 1024, 1024)
"""Rows, inner size and columns of the product that a CPU's peak is measured with."""


@dataclass(frozen=True, slots=True)
class LmShape:
    """What decides the operations of a plain language model."""

    n_layers: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int


def lm_flops_per_token(shape: LmShape, *, length: int) -> int:
    """Training operations for a token of plain language modelling with a gated feed-forward.

    ``6 N + 12 L S D``, N = weights of the matrix products, output layer included, embeddings not:
    ``L (4 D^2 + 3 D F) + V D``. Source: Chowdhery et al. 2022, PaLM, arXiv:2204.02311, appendix B
    (attention counted in full, though half of it is masked).

    Args:
        shape: L, D, F, V; as many key-value heads as heads.
        length: S, tokens of a text.

    >>> lm_flops_per_token(LmShape(5, 384, 1024, 32_768), length=128)
    131530752
    """
    d = shape.hidden_size
    weights = shape.n_layers * (4 * d * d + 3 * d * shape.intermediate_size) + shape.vocab_size * d
    return 6 * weights + 12 * shape.n_layers * length * d


def training_flops(forward: Callable[[], object]) -> int:
    """Operations of a training step whose forward pass is `forward`, by counting one pass.

    Unlike a formula this knows what a stage leaves out: the last layer is computed at the
    compression tokens only, and the output layer where a token is scored.
    """
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    # torch registers the attention of GPUs only
    cpu_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={cpu_attention: attention})
    with torch.no_grad(), counter:
        forward()
    return TRAINING_PER_FORWARD * int(counter.get_total_flops())


def peak_flops(device: torch.device, precision: str) -> float | None:
    """The most operations a second that this machine does, all threads together.

    A CPU is measured with a matrix product; a GPU is looked up by name, None = unknown.

    Args:
        device: where the model is.
        precision: bf16 or fp32. The GPU figures are for bf16, which is what trains there.
    """
    if device.type == "cpu":
        return measured_peak(precision)
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in GPU_PEAKS.items() if part in name), None)


@functools.cache
def measured_peak(precision: str) -> float:
    """Operations a second of the best of several matrix products on the CPU's threads."""
    rows, inner, columns = MATRIX
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * rows * inner * columns / min(seconds)
