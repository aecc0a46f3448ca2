"""Peak memory of this process over a stretch of work, where the system can say it."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"
"""Written to clear_refs it sets the peak back to the present (Linux 4.0, proc(5))."""


class Peak:
    """Filled in when the work is done."""

    rss_mb: float | None = None
    """Largest resident set of the process, in 10^6 bytes; None = the system cannot say."""


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the largest resident set of this process within a ``with`` block.

    It holds all that the process has loaded (models, mapped indexes), not the work alone; what it
    kept of memory that was freed before is given back first. Linux alone can set the peak back;
    elsewhere, and where that is forbidden, nothing is said.
    """
    peak = Peak()
    can_tell = _reset()
    yield peak
    if can_tell:
        peak.rss_mb = _high_water_mark()


def _reset() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    _give_back_freed()
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _give_back_freed() -> None:
    """What glibc keeps of freed tensors (`encoder/process.py`) would count as memory in use."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)


def _high_water_mark() -> float | None:
    lines = _STATUS.read_text().splitlines()
    sizes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return sizes[0] * 1024 / 1e6 if sizes else None
