"""The training loop: it learns, resumes exactly, keeps the best step and stops on nonsense."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lbr_search.encoder.batching import collate
from lbr_search.errors import TrainingError
from lbr_search.train.batches import Stage1Batch, Stage2Batch
from lbr_search.train.loop import Objective, choose_precision, count_tokens, fit
from lbr_search.train.recipe import LoopConfig, Stage1Config, Stage2Config
from lbr_search.train.stage1 import stage1_loss
from lbr_search.train.stage2 import stage2_loss
from tests.tiny import tiny_model


def examples(seed: int) -> Stage1Batch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (4, 9), generator=generator).tolist()
    return Stage1Batch(
        collate(ids, n_compression_tokens=3), collate([i[:4] for i in ids], n_compression_tokens=0)
    )


def run(folder: Path, *, steps: int, stop_after: int | None = None, precision: str = "fp32"):
    """Train the tiny model; `stop_after` interrupts as Ctrl-C would."""
    model = tiny_model()
    config = LoopConfig(
        steps=steps,
        learning_rate=1e-2,
        warmup_steps=2,
        save_every=3,
        eval_every=4,
        precision=precision,
    )
    stage = Stage1Config(reconstruction_share=1.0)

    def progress(step) -> None:
        if step.step == stop_after:
            raise KeyboardInterrupt

    scores = iter(range(100))
    report = fit(
        model,
        config,
        objective=Objective(
            examples,
            lambda batch, step: stage1_loss(model, batch, stage, seed=step),
            lambda: {"score": float(next(scores))},
        ),
        folder=folder,
        progress=progress,
    )
    return model, report


def test_stage1_overfits_one_batch():
    """Four texts pass the bottleneck: NLL(y | Z) falls below 0.1 nats from over 5."""
    model = tiny_model()
    batch, stage = examples(0), Stage1Config()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = stage1_loss(model, batch, stage, seed=0)["nll_y"].item()
    for step in range(100):
        terms = stage1_loss(model, batch, stage, seed=step)
        terms["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert first > 5
    assert terms["nll_y"].item() < 0.1


def test_stage2_overfits_one_batch():
    """Four pairs are told apart: InfoNCE falls below 0.05 nats."""
    model = tiny_model()
    ids = examples(0).text.input_ids[:, :9].tolist()
    other = examples(1).text.input_ids[:, :9].tolist()
    batch = Stage2Batch(
        collate(ids, n_compression_tokens=3),
        collate(other, n_compression_tokens=3),
        torch.zeros(4, 4, dtype=torch.bool).numpy(),
        collate(ids, n_compression_tokens=0),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    config = Stage2Config(gamma=0.1)
    first = stage2_loss(model, batch, config, is_warm=False)["info_nce"].item()
    for _ in range(40):
        terms = stage2_loss(model, batch, config, is_warm=False)
        terms["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert first > 0.5
    assert terms["info_nce"].item() < 0.05


def test_resuming_equals_not_stopping(tmp_path: Path):
    """Stopped between checkpoints and run again: the same weights and the same log."""
    whole, _ = run(tmp_path / "whole", steps=11)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", steps=11, stop_after=8)
    resumed, report = run(tmp_path / "parts", steps=11)
    assert report.resumed_from == 6
    expected = dict(whole.named_parameters())
    assert all(torch.equal(expected[name], p) for name, p in resumed.named_parameters())
    logs = [
        [
            (line["step"], line["loss"])
            for line in map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
            if "loss" in line
        ]
        for name in ("whole", "parts")
    ]
    assert logs[0] == logs[1]
    assert [step for step, _ in logs[0]] == list(range(1, 12))


KILLED = """
import sys, time
from pathlib import Path
from tests.test_loop import run
import tests.test_loop as module
make = module.examples
def slow(step):
    time.sleep(0.05)
    return make(step)
module.examples = slow
run(Path(sys.argv[1]), steps=11)
"""


def test_kill_9_loses_nothing(tmp_path: Path):
    """Killed in the middle, the run goes on from its checkpoint to the same weights."""
    root = Path(__file__).parent.parent
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "killed")], cwd=root)
    state, deadline = tmp_path / "killed" / "state.safetensors", time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    killed, report = run(tmp_path / "killed", steps=11)
    whole, _ = run(tmp_path / "whole", steps=11)
    assert 0 < report.resumed_from < 11
    expected = dict(whole.named_parameters())
    assert all(torch.equal(expected[name], p) for name, p in killed.named_parameters())


def test_the_best_step_is_kept_not_the_last(tmp_path: Path):
    """The model that `fit` leaves is the one that scored best."""
    model = tiny_model()
    seen: list[dict[str, torch.Tensor]] = []
    scores = iter([1.0, 3.0, 2.0])

    def evaluate() -> dict[str, float]:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {"score": next(scores)}

    report = fit(
        model,
        LoopConfig(steps=6, learning_rate=1e-2, eval_every=2, save_every=6),
        objective=Objective(
            examples,
            lambda batch, step: stage1_loss(model, batch, Stage1Config(), seed=step),
            evaluate,
        ),
        folder=tmp_path,
    )
    assert (report.best_step, report.best_score) == (4, 3.0)
    assert all(torch.equal(seen[1][name], p) for name, p in model.named_parameters())
    assert not torch.equal(seen[1]["compression"], seen[2]["compression"])


@pytest.mark.parametrize("n_bad", [2, 5])
def test_a_loss_that_is_not_finite_is_skipped_then_refused(tmp_path: Path, n_bad: int):
    """Two bad steps change no weight and are counted; five running end the training."""
    model = tiny_model()

    def loss(batch: Stage1Batch, step: int) -> dict[str, torch.Tensor]:
        terms = stage1_loss(model, batch, Stage1Config(), seed=step)
        return {"loss": terms["loss"] * (math.nan if step < n_bad else 1.0)}

    def start():
        config = LoopConfig(steps=6, eval_every=0)
        objective = Objective(examples, loss, lambda: {"score": 0.0})
        return fit(model, config, objective=objective, folder=tmp_path)

    if n_bad == 5:
        with pytest.raises(TrainingError, match="5 steps running"):
            start()
    else:
        assert start().n_bad_steps == 2
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_folder_of_another_model_is_refused(tmp_path: Path):
    """A checkpoint of other shapes is not loaded into this model."""
    run(tmp_path, steps=3)
    model = tiny_model(k=5)
    with pytest.raises(TrainingError, match="another model"):
        fit(
            model,
            LoopConfig(steps=4),
            objective=Objective(
                examples,
                lambda batch, step: stage1_loss(model, batch, Stage1Config(), seed=step),
                lambda: {"score": 0.0},
            ),
            folder=tmp_path,
        )


def test_tokens_are_counted_without_padding():
    """Texts and targets of a batch, not their padding or compression places."""
    assert count_tokens(examples(0)) == 4 * 9 + 4 * 4


def test_bf16_autocast_keeps_fp32_weights(tmp_path: Path):
    """Under bf16 the master weights stay float32 and the loss falls."""
    model, report = run(tmp_path, steps=11, precision="bf16")
    assert report.precision == "bf16"
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]


def test_auto_precision_is_one_of_the_two():
    """`auto` decides by a measurement; a fixed wish is kept."""
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) in ("bf16", "fp32")
    assert choose_precision("bf16", cpu) == "bf16"
