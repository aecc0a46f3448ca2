"""Speed of training: operations counted as the formula says, rates from the loop's own log."""

from __future__ import annotations

import json

import pytest
import torch

from lbr_search.encoder.llama import LlamaBackbone, LlamaConfig
from lbr_search.train import benchmark
from lbr_search.train.benchmark import BenchmarkShape, bound_by, run_training_benchmark
from lbr_search.train.flops import LmShape, lm_flops_per_token, training_flops
from lbr_search.train.recipe import ModelConfig
from tests.hash_cli import run

SMALL = BenchmarkShape(
    ModelConfig(n_layers=2, hidden_size=32, n_heads=2, intermediate_size=48, vocab_size=300),
    text_tokens=16,
    batch_size=2,
)


def test_counted_operations_are_those_of_the_formula():
    """A plain language model: 6 N + 12 L S D a token, to the last one."""
    shape, n_rows, length = LmShape(3, 32, 48, 300), 2, 16
    backbone = LlamaBackbone(
        LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
        )
    )
    ids = torch.ones(n_rows, length, dtype=torch.long)
    counted = training_flops(lambda: backbone.logits(backbone.states(backbone.embedding(ids))))
    assert counted == n_rows * length * lm_flops_per_token(shape, length=length)


@pytest.fixture(scope="module")
def speeds():
    return run_training_benchmark(seconds=0.2, shape=SMALL)


def test_each_precision_is_measured_and_the_figures_agree(speeds):
    """Tokens, operations, shares and cores of one row belong together."""
    assert [speed.precision for speed in speeds] == ["fp32", "bf16"]
    for speed in speeds:
        assert speed.gflops_per_core * speed.n_threads == pytest.approx(speed.gflops)
        assert speed.peak_share == pytest.approx(speed.gflops / speed.peak_gflops)
        assert sum(speed.phase_shares.values()) == pytest.approx(1.0)
        assert min(speed.phase_shares.values()) >= 0
        assert set(speed.phase_shares) == {"data", "forward", "backward", "optimizer", "other"}
    # the same model does the same work for a token in both
    per_token = [speed.gflops / speed.tokens_per_s for speed in speeds]
    assert per_token[0] == pytest.approx(per_token[1])


def test_the_shipped_shapes_have_the_promised_sizes():
    """About 20 M parameters on a CPU; 60 M or more and texts of 512 tokens on a GPU."""

    def size(shape: BenchmarkShape) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in benchmark._model(shape.model).parameters())

    assert round(size(benchmark.CPU_SHAPE) / 1e6) == 22
    assert round(size(benchmark.GPU_SHAPE) / 1e6) == 82
    assert benchmark.GPU_SHAPE.text_tokens == 512


@pytest.mark.parametrize(
    ("optimizer", "peak_share", "says"),
    [(0.4, 0.9, "the optimizer"), (0.1, 0.9, "the matrix products"), (0.1, None, "memory traffic")],
)
def test_what_bounds_it_follows_from_the_shares(optimizer, peak_share, says):
    """The most telling number is named."""
    shares = {"data": 0.0, "forward": 0.3, "backward": 0.6 - optimizer, "optimizer": optimizer}
    assert bound_by(shares, peak_share).startswith(says)


@pytest.mark.parametrize("command", [("benchmark", "--seconds", "0.1", "--json"), ("--benchmark",)])
def test_both_spellings_of_the_command_measure(monkeypatch, speeds, command):
    """`train benchmark --json` prints one object a precision; `train --benchmark` a table."""
    asked = []

    def measured(**options):
        asked.append(options)
        return speeds

    monkeypatch.setattr(benchmark, "run_training_benchmark", measured)
    outcome = run("train", *command)
    assert outcome.code == 0, outcome.err
    if "--json" in command:
        rows = [json.loads(line) for line in outcome.out.splitlines()]
        assert [row["precision"] for row in rows] == ["fp32", "bf16"]
        assert rows[0]["tokens_per_s"] == speeds[0].tokens_per_s
        assert asked == [{"seconds": 0.1, "precisions": ("fp32", "bf16"), "compile_layers": False}]
    else:
        assert "GFLOP/s" in outcome.out and "fp32" in outcome.out
