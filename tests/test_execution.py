"""Compiled layers: the same result where there is a compiler, a loud way on where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lbr_search.train.execution import is_out_of_memory
from tests.test_loop import distance, run


# torch's compiler imports parts of torch that are deprecated
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_without_a_compiler_training_goes_on_and_says_so(tmp_path: Path, monkeypatch, caplog):
    """No C++ compiler: the weights of plain training, a warning and a note in the report."""
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "/nonexistent/c++"))
    monkeypatch.setattr(config, "force_disable_caches", True)
    compiled, report = run(tmp_path / "compiled", steps=3, compile=True)
    plain, _ = run(tmp_path / "plain", steps=3)
    assert distance(compiled, plain) == 0
    assert report.notes == ("compile = true had no effect: torch.compile does not work here",)
    assert "torch.compile fails here" in caplog.text


def test_only_a_lack_of_memory_counts_as_one():
    """The real error of torch's allocator does; other errors of its kernels do not."""
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(2**50)
    assert is_out_of_memory(too_large.value)
    with pytest.raises(RuntimeError) as wrong_shape:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(wrong_shape.value)
