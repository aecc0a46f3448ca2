"""Energy that the GPUs take over a stretch of work, where nvidia-smi can say it."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np

COMMAND = "nvidia-smi"
_QUERY = ("--query-gpu=index,power.draw", "--format=csv,noheader,nounits", "--loop-ms=100")
_PATIENCE_S = 5.0
"""How long a first reading is waited for."""

Reading = tuple[float, str, float]
"""Seconds, number of the GPU, watts."""


class Energy:
    """Filled in when the work is done."""

    joules: float | None = None
    """Of all GPUs of the machine, idle ones and other programs' work included; None = not known."""


@contextmanager
def gpu_energy() -> Iterator[Energy]:
    """Measure the energy of a ``with`` block: power, read ten times a second, summed over time.

    Without nvidia-smi, or where it does not tell the power, nothing is said.
    """
    energy = Energy()
    meter = _Meter.started() if shutil.which(COMMAND) else None
    if meter is None:
        yield energy
        return
    start = time.perf_counter()
    try:
        yield energy
    finally:
        stop = time.perf_counter()
        energy.joules = joules(meter.stopped(), start, stop)


def joules(readings: Sequence[Reading], start: float, stop: float) -> float | None:
    """Watts at some moments -> watt seconds between two moments, all GPUs together.

    Between readings power is taken to change evenly; before the first and after the last it is
    theirs.

    >>> joules([(0.0, "0", 100.0), (2.0, "0", 200.0)], 0.0, 2.0)
    300.0
    >>> joules([(1.0, "0", 50.0), (1.0, "1", 10.0)], 0.0, 2.0)
    120.0
    """
    if not readings:
        return None
    total = 0.0
    for gpu in sorted({gpu for _, gpu, _ in readings}):
        moments, watts = zip(*((at, w) for at, each, w in readings if each == gpu), strict=True)
        inside = [start, *(at for at in moments if start < at < stop), stop]
        total += float(np.trapezoid(np.interp(inside, moments, watts), inside))
    return total


class _Meter:
    """nvidia-smi in the background, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._readings: list[Reading] = []
        self._spoke = threading.Event()
        assert process.stdout is not None
        self._thread = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        self._thread.start()

    @classmethod
    def started(cls) -> _Meter | None:
        """One that gives readings; None = the command does not run, or names no power."""
        try:
            process = subprocess.Popen(
                [COMMAND, *_QUERY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            return None
        meter = cls(process)
        meter._spoke.wait(_PATIENCE_S)
        if meter._readings:
            return meter
        meter.stopped()
        return None

    def stopped(self) -> list[Reading]:
        """All readings; the command is ended."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        return self._readings

    def _listen(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                gpu, _, power = line.partition(",")
                try:
                    self._readings.append((time.perf_counter(), gpu.strip(), float(power)))
                except ValueError:  # "[N/A]": this GPU does not tell
                    continue
                finally:
                    self._spoke.set()
        self._spoke.set()
