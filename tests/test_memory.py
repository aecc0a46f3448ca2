"""Peak memory: an allocation shows, and what was before it does not."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import pytest

from lbr_search.bench import memory
from lbr_search.bench.memory import peak_memory


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


def test_a_system_that_cannot_say_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Where the peak cannot be set back there is no number instead of a wrong one."""
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "such" / "file")
    with peak_memory() as peak:
        pass
    assert peak.rss_mb is None
