"""`train benchmark`: how fast this machine trains, and what bounds it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lbr_search.encoder.batching import collate
from lbr_search.encoder.llama import LlamaBackbone, LlamaConfig
from lbr_search.encoder.model import LbrModel
from lbr_search.encoder.process import prepare_process
from lbr_search.train.batches import Stage1Batch
from lbr_search.train.flops import measured_peak, peak_flops
from lbr_search.train.log import read_log
from lbr_search.train.loop import LOG_FILE, fit
from lbr_search.train.recipe import LoopConfig, ModelConfig
from lbr_search.train.speedometer import Step
from lbr_search.train.stage1 import stage1_loss
from lbr_search.train.stage_config import Stage1Config
from lbr_search.train.step import PHASES, Objective

PRECISIONS = ("fp32", "bf16")
WARMUP_STEPS = 2
"""Left out of the rates: the first allocates, and on a GPU chooses kernels."""


@dataclass(frozen=True, slots=True)
class BenchmarkShape:
    """A model from scratch and a batch of synthetic tokens.

    Attributes:
        model: sizes; the backbone is a Llama.
        text_tokens: of x. y has an eighth of them.
        batch_size: texts of a step.
    """

    model: ModelConfig
    text_tokens: int
    batch_size: int


CPU_SHAPE = BenchmarkShape(ModelConfig(), text_tokens=192, batch_size=16)
"""21 M parameters and 3,456 tokens a step, as `lbr-mini-cpu` trains from scratch."""
GPU_SHAPE = BenchmarkShape(
    ModelConfig(n_layers=8, hidden_size=768, n_heads=12, intermediate_size=2048, max_tokens=512),
    text_tokens=512,
    batch_size=64,
)
"""82 M parameters, texts of 512 tokens."""


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """Rates of one precision.

    Attributes:
        gflops: counted matrix-product operations (10^9) a second, all threads together.
        gflops_per_core: the same for one thread of torch; on a GPU for the device.
        peak_gflops: what a matrix product reaches here in the same process; None = unknown GPU.
        peak_share: gflops / peak_gflops.
        phase_shares: data, forward, backward, optimizer, other -> share of a step's time.
        bound_by: what the numbers say is in the way, in words.
    """

    precision: str
    device: str
    n_threads: int
    n_parameters: int
    n_steps: int
    tokens_per_s: float
    gflops: float
    gflops_per_core: float
    peak_gflops: float | None
    peak_share: float | None
    phase_shares: dict[str, float]
    bound_by: str


class _TimeIsUp(Exception):
    """Ends a run as Ctrl-C would."""


def run_training_benchmark(
    *,
    seconds: float = 10.0,
    precisions: Sequence[str] = PRECISIONS,
    shape: BenchmarkShape | None = None,
    compile_layers: bool = False,
) -> list[TrainingSpeed]:
    """Train stage 1 of a model from scratch on random tokens, through the loop of real runs.

    Args:
        seconds: of each precision, after the first steps.
        precisions: fp32, bf16.
        shape: None = 21 M parameters on a CPU, 82 M on a GPU.
        compile_layers: with torch.compile.
    """
    prepare_process()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = shape or (GPU_SHAPE if device.type == "cuda" else CPU_SHAPE)
    model, batch = _model(chosen.model).to(device), synthetic_batch(chosen).to(device)
    speeds = []
    for precision in precisions:
        measured_peak.cache_clear()  # beside the steps, under the same load of the machine
        config = LoopConfig(
            steps=1_000_000,
            eval_every=0,
            save_every=1_000_000,
            precision=precision,
            compile=compile_layers,
        )
        last, rows = _train_for(seconds, model, config, batch)
        speeds.append(_speed(last, rows, model, precision))
    return speeds


def synthetic_batch(shape: BenchmarkShape) -> Stage1Batch:
    """Random token ids without padding, so that every place is work."""
    generator = torch.Generator().manual_seed(0)

    def rows(length: int) -> list[list[int]]:
        size = (shape.batch_size, length)
        ids: list[list[int]] = torch.randint(
            1, shape.model.vocab_size, size, generator=generator
        ).tolist()
        return ids

    k = shape.model.n_compression_tokens
    return Stage1Batch(
        collate(rows(shape.text_tokens), n_compression_tokens=k),
        collate(rows(shape.text_tokens // 8), n_compression_tokens=0),
    )


def bound_by(phase_shares: dict[str, float], peak_share: float | None) -> str:
    """What is in the way, in words: the phase to shorten first, or the matrix products themselves.

    >>> bound_by({"data": 0.3, "forward": 0.2, "backward": 0.4, "optimizer": 0.1}, 0.3)
    'making batches (30 % of the time)'
    """
    for phase, name, most in (
        ("data", "making batches", 0.15),
        ("optimizer", "the optimizer: larger batches have fewer steps", 0.25),
    ):
        if phase_shares[phase] > most:
            return f"{name} ({phase_shares[phase] * 100:.0f} % of the time)"
    if peak_share is not None and peak_share >= 0.7:
        return "the matrix products: near what the machine does at best"
    return "memory traffic between the matrix products (norms, softmax, activations, casts)"


def _model(shape: ModelConfig) -> LbrModel:
    backbone = LlamaBackbone(
        LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_heads,
            max_position_embeddings=2 * shape.max_tokens + 64,
        )
    )
    return LbrModel(backbone, n_compression_tokens=shape.n_compression_tokens)


def _train_for(
    seconds: float, model: LbrModel, config: LoopConfig, batch: Stage1Batch
) -> tuple[Step, list[dict[str, float]]]:
    """The last reading, and the log of the steps after the first ones."""
    started, readings = time.perf_counter(), list[Step]()

    def watch(step: Step) -> None:
        nonlocal started
        readings.append(step)
        if step.step == WARMUP_STEPS:
            started = time.perf_counter()
        if step.step > WARMUP_STEPS and time.perf_counter() - started >= seconds:
            raise _TimeIsUp

    objective = Objective(
        lambda _: batch,
        lambda examples, number: stage1_loss(model, examples, Stage1Config(), seed=number),
        lambda: {"score": 0.0},
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            fit(model, config, objective=objective, folder=Path(folder), progress=watch)
        except _TimeIsUp:
            rows = read_log(Path(folder) / LOG_FILE)
    return readings[-1], rows


def _speed(
    last: Step, rows: list[dict[str, float]], model: LbrModel, precision: str
) -> TrainingSpeed:
    device = model.compression.device
    measured = rows[WARMUP_STEPS:]
    elapsed = measured[-1]["seconds"] - rows[WARMUP_STEPS - 1]["seconds"]
    tokens_per_s = sum(row["tokens"] for row in measured) / elapsed
    gflops = tokens_per_s * last.flops_per_token / 1e9
    peak = peak_flops(device, precision)
    share = None if peak is None else gflops * 1e9 / peak
    by_phase = {name.removesuffix("_s"): sum(row[name] for row in measured) for name in PHASES}
    shares = {name: value / elapsed for name, value in by_phase.items()}
    shares["other"] = 1 - sum(shares.values())  # the log, and what is done between steps
    is_gpu = device.type == "cuda"
    return TrainingSpeed(
        precision,
        torch.cuda.get_device_name(device) if is_gpu else "cpu",
        torch.get_num_threads(),
        sum(parameter.numel() for parameter in model.parameters()),
        len(measured),
        tokens_per_s,
        gflops,
        gflops if is_gpu else gflops / torch.get_num_threads(),
        None if peak is None else peak / 1e9,
        share,
        shares,
        bound_by(shares, share),
    )
