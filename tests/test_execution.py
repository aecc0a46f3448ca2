"""Compiled layers: the same result where there is a compiler, a loud way on where there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lbr_search.train.execution import is_out_of_memory
from tests.test_loop import distance, run

TORCH_WARNS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Torch's compiler warns of itself; as an error that would be a compiler that fails."""


@TORCH_WARNS
def test_without_a_compiler_training_goes_on_and_says_so(tmp_path: Path, caplog):
    """No C++ compiler: the weights of plain training, a warning and a note in the report."""
    from torch._inductor import config

    torch.compiler.reset()
    missing = {"cpp.cxx": (None, "/nonexistent/c++"), "force_disable_caches": True}
    with config.patch(missing):
        compiled, report = run(tmp_path / "compiled", steps=3, compile=True)
    plain, _ = run(tmp_path / "plain", steps=3)
    assert distance(compiled, plain) == 0
    assert report.notes == ("compile = true had no effect: torch.compile does not work here",)
    assert "torch.compile fails here: InvalidCxxCompiler" in caplog.text


@pytest.mark.slow
@TORCH_WARNS
def test_compiled_layers_train_as_plain_ones(tmp_path: Path):
    """Losses of three steps in fp32 agree; weights differ, so it was compiled indeed.

    Weights are not compared closely: AdamW's first steps follow the sign of a gradient, however
    small, and another order of sums changes some.
    """
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler on this machine")
    torch.compiler.reset()
    compiled, report = run(tmp_path / "compiled", steps=3, compile=True)
    plain, _ = run(tmp_path / "plain", steps=3)
    assert report.notes == ()
    assert distance(compiled, plain) > 0
    losses = [
        [
            json.loads(line)["loss"]
            for line in (tmp_path / name / "log.jsonl").open()
            if "loss" in line
        ]
        for name in ("compiled", "plain")
    ]
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_only_a_lack_of_memory_counts_as_one():
    """The real error of torch's allocator does; other errors of its kernels do not."""
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(2**50)
    assert is_out_of_memory(too_large.value)
    with pytest.raises(RuntimeError) as wrong_shape:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(wrong_shape.value)
