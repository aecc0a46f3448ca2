"""Peak memory: an allocation shows, and what was before it does not."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import pytest

from lbr_search.bench import memory
from lbr_search.bench.memory import peak_memory
from lbr_search.encoder.process import prepare_process


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone sets the peak back")
def test_the_peak_is_that_of_the_block() -> None:
    """200 MB written within the block raise the peak by as much; a block after it forgets them."""
    with peak_memory() as before:
        pass
    # pages of their own: what malloc keeps of an earlier test would raise no peak
    with peak_memory() as during, mmap.mmap(-1, 200_000_000) as pages:
        np.frombuffer(pages, dtype=np.float64).fill(1)
    with peak_memory() as after:
        pass
    if during.rss_mb is None:
        pytest.skip("this system does not let a process set its peak back")
    assert 150 < during.rss_mb - before.rss_mb < 300
    assert during.rss_mb - after.rss_mb > 100


def test_what_was_freed_before_is_given_back() -> None:
    """Freed tensors that the process keeps for the next ones do not count for the next block."""
    prepare_process()
    with peak_memory() as during:
        blocks = [np.ones(125_000) for _ in range(200)]  # 200 MB in pieces
        pins = [np.ones(500) for _ in range(1_000)]  # allocated behind them, so the heap stays
    del blocks
    with peak_memory() as after:
        pass
    if during.rss_mb is None or after.rss_mb is None:
        pytest.skip("this system does not let a process set its peak back")
    assert len(pins) == 1_000
    assert during.rss_mb - after.rss_mb > 100


def test_a_system_that_cannot_say_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Where the peak cannot be set back there is no number instead of a wrong one."""
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "such" / "file")
    with peak_memory() as peak:
        pass
    assert peak.rss_mb is None
