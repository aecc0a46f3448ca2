"""Settings of the whole process that decide the speed of torch on texts of many lengths."""

from __future__ import annotations

import ctypes
import platform

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's `mallopt` (malloc.h)."""


def prepare_process() -> None:
    """Called before a model is trained or encodes; calling it again changes nothing."""
    _keep_freed_memory()
    # on a GPU, cuDNN's attention makes a plan for every new shape of batch: measured on an H200,
    # a training step took 0.33 s with it and 0.09 s without, as each batch has a length of its own
    torch.backends.cuda.enable_cudnn_sdp(False)


def _keep_freed_memory() -> None:
    """Let glibc keep freed tensors for the next ones instead of returning them to the kernel.

    By default every tensor above 32 MB is mapped, zeroed page by page, and unmapped again; in
    training that took half of the processor time. Peak memory stays the same; it is given back
    when the process ends. Does nothing on other C libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_TOP_PAD, 64 * 2**20)
