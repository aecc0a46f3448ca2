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
from lbr_search.train.execution import choose_precision
from lbr_search.train.loop import fit
from lbr_search.train.recipe import LoopConfig
from lbr_search.train.split import split_stage1
from lbr_search.train.stage1 import stage1_loss
from lbr_search.train.stage2 import stage2_loss
from lbr_search.train.stage_config import Stage1Config, Stage2Config
from lbr_search.train.step import Ahead, Objective, count_tokens
from tests.tiny import tiny_model


def examples(seed: int) -> Stage1Batch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (4, 9), generator=generator).tolist()
    return Stage1Batch(
        collate(ids, n_compression_tokens=3), collate([i[:4] for i in ids], n_compression_tokens=0)
    )


EVERYTHING = {"accumulate": 2, "optimizer": "muon", "ema_decay": 0.9, "patience": 9}
"""All that a resumed run must take up again."""


def losses(model, nan_at=range(0)):
    """Stage 1's loss; not finite for some micro-batches."""
    stage = Stage1Config(reconstruction_share=1.0)

    def loss(batch: Stage1Batch, number: int) -> dict[str, torch.Tensor]:
        terms = stage1_loss(model, batch, stage, seed=number)
        return {**terms, "loss": terms["loss"] * (math.nan if number in nan_at else 1.0)}

    return loss


def run(
    folder: Path,
    *,
    steps: int,
    stop_after: int | None = None,
    nan_at: range = range(0),
    objective: Objective | None = None,
    **settings,
):
    """Train the tiny model; `stop_after` interrupts as Ctrl-C would."""
    model = tiny_model()
    values = {"learning_rate": 1e-2, "warmup_steps": 2, "save_every": 3, "eval_every": 4}
    config = LoopConfig(steps=steps, **{**values, "precision": "fp32", **settings})

    def progress(step) -> None:
        if step.step == stop_after:
            raise KeyboardInterrupt

    scores = iter(range(100))
    objective = objective or Objective(
        examples, losses(model, nan_at), lambda: {"score": float(next(scores))}
    )
    if isinstance(objective, dict):
        parts = {"batch": examples, "loss": losses(model, nan_at), "evaluate": lambda: {"score": 0}}
        objective = Objective(**{**parts, **objective})
    report = fit(model, config, objective=objective, folder=folder, progress=progress)
    return model, report


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def distance(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """Largest difference between two models' weights."""
    mine, theirs = (dict(model.named_parameters()) for model in (one, other))
    return max(float((mine[name] - theirs[name]).detach().abs().max()) for name in mine)


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


@pytest.mark.parametrize(
    ("settings", "stop_after", "resumed_from"),
    [
        ({}, 7, 6),
        (EVERYTHING, 7, 6),
        ({"optimizer": "muon"}, 11, 11),
        # in the middle of bad steps, and after the roll-back from step 9 to 3
        ({"nan_at": range(4, 9)}, 7, 3),
        ({"nan_at": range(4, 9), **EVERYTHING, "accumulate": 1}, 10, 9),
    ],
)
def test_resuming_equals_not_stopping(tmp_path: Path, settings, stop_after, resumed_from):
    """Stopped between checkpoints and run again: the same weights and the same log."""
    settings = {"eval_every": 0, **settings}
    whole, _ = run(tmp_path / "whole", steps=11, **settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", steps=11, stop_after=stop_after, **settings)
    resumed, report = run(tmp_path / "parts", steps=11, **settings)
    assert report.resumed_from == resumed_from
    assert distance(whole, resumed) == 0
    logs = [
        [(line["step"], line["loss"]) for line in lines(tmp_path / name) if "loss" in line]
        for name in ("whole", "parts")
    ]
    assert str(logs[0]) == str(logs[1])  # as text, in which nan equals nan
    assert [step for step, _ in logs[0]] == list(range(1, 12))


KILLED = """
import json, sys, time
from pathlib import Path
from tests.test_loop import run
import tests.test_loop as module
make = module.examples
def slow(step):
    time.sleep(0.05)
    return make(step)
module.examples = slow
run(Path(sys.argv[1]), steps=11, **json.loads(sys.argv[2]))
"""


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "everything"])
def test_kill_9_loses_nothing(tmp_path: Path, settings):
    """Killed in the middle, the run goes on from its checkpoint to the same weights."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), json.dumps(settings)]
    child = subprocess.Popen(command, cwd=root)
    state, deadline = tmp_path / "killed" / "state.safetensors", time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    killed, report = run(tmp_path / "killed", steps=11, **settings)
    whole, _ = run(tmp_path / "whole", steps=11, **settings)
    assert 0 < report.resumed_from < 11
    assert distance(whole, killed) < 1e-6


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


def test_two_bad_steps_are_left_out_and_counted(tmp_path: Path):
    """They change no weight: the run equals one whose first batch is the third."""
    model, report = run(tmp_path, steps=2, nan_at=range(2), eval_every=0)
    assert report.n_bad_steps == 2
    assert distance(model, tiny_model()) == 0
    assert [math.isnan(line["loss"]) for line in lines(tmp_path) if "loss" in line] == [True] * 2


def test_a_roll_back_skips_the_batches_that_led_astray(tmp_path: Path):
    """Bad from batch 4 to 8: the run goes back to step 3 and on with batch 9."""
    model, report = run(tmp_path / "bad", steps=12, nan_at=range(4, 9), eval_every=0)

    def skipping(number: int) -> int:
        return number if number < 3 else number + 6

    other = tiny_model()
    good = Objective(
        lambda number: examples(skipping(number)),
        lambda batch, number: losses(other)(batch, skipping(number)),
        lambda: {"score": 0.0},
    )
    config = LoopConfig(
        steps=12, learning_rate=1e-2, warmup_steps=2, eval_every=0, precision="fp32"
    )
    fit(other, config, objective=good, folder=tmp_path / "good")
    assert distance(model, other) == 0
    assert report.n_bad_steps == 5
    assert "back to step 3" in report.notes[0]
    log = lines(tmp_path / "bad")
    assert [line["step"] for line in log if "loss" in line] == list(range(1, 13))
    assert [line for line in log if "rolled_back_from" in line] == [
        {"step": 3, "rolled_back_from": 9}
    ]


def test_a_loss_that_stays_bad_is_refused_after_one_roll_back(tmp_path: Path):
    """The second time is the last; without a checkpoint the first is. Good weights are kept."""
    with pytest.raises(TrainingError, match="5 steps running, the last 5"):
        run(tmp_path / "none", steps=40, nan_at=range(0, 99))
    with pytest.raises(TrainingError, match="again, after a roll-back"):
        run(tmp_path / "some", steps=40, nan_at=range(4, 99), eval_every=0)
    with pytest.raises(TrainingError, match="again, after a roll-back, the last 8"):
        run(tmp_path / "some", steps=40, nan_at=range(4, 99), eval_every=0)


def test_accumulating_equals_a_larger_batch(tmp_path: Path):
    """Two micro-batches of 4 rows make the step of one batch of 8 rows."""

    def double(number: int) -> Stage1Batch:
        halves = [examples(2 * number), examples(2 * number + 1)]
        texts = [row for half in halves for row in half.text.input_ids[:, :9].tolist()]
        return Stage1Batch(
            collate(texts, n_compression_tokens=3),
            collate([row[:4] for row in texts], n_compression_tokens=0),
        )

    # small steps: Adam divides by the gradient's size, which magnifies the last bit of tiny ones
    settings = {"learning_rate": 1e-3, "eval_every": 0}
    accumulated, _ = run(tmp_path / "two", steps=5, accumulate=2, **settings)
    large, _ = run(tmp_path / "one", steps=5, objective={"batch": double}, **settings)
    assert distance(accumulated, large) < 1e-6
    assert distance(accumulated, tiny_model()) > 1e-3
    logs = [[line for line in lines(tmp_path / name) if "loss" in line] for name in ("two", "one")]
    for two, one in zip(*logs, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
        assert two["tokens"] == one["tokens"]


def test_the_average_is_the_formula_and_is_what_is_kept(tmp_path: Path):
    """`best` holds sum of weights by min(decay, (1 + n) / (10 + n)), not the last weights."""
    model, seen = tiny_model(), []
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}

    def watch(number: int) -> Stage1Batch:
        if number:
            seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return examples(number)

    config = LoopConfig(steps=4, learning_rate=1e-2, eval_every=0, precision="fp32", ema_decay=0.25)
    held = []

    def evaluate() -> dict[str, float]:
        held.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {"score": 1.0}

    fit(model, config, objective=Objective(watch, losses(model), evaluate), folder=tmp_path)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "state.safetensors")
    seen.append({name: stored[f"weights/{name}"] for name in expected})
    for n, weights in enumerate(seen, start=1):
        decay = min(0.25, (1 + n) / (10 + n))
        expected = {
            name: decay * average + (1 - decay) * weights[name]
            for name, average in expected.items()
        }
    final = dict(model.named_parameters())
    for name, average in expected.items():
        assert torch.allclose(average, final[name], atol=1e-6), name
        assert torch.equal(held[0][name], final[name])
    assert not torch.allclose(expected["compression"], seen[-1]["compression"], atol=1e-4)


def test_muon_takes_the_matrices_of_the_layers_only(tmp_path: Path):
    """After one step all else equals AdamW, and a matrix has moved by 0.2 sqrt(max) rate U V^T."""
    settings = {"steps": 1, "eval_every": 0, "weight_decay": 0.0}
    muon, _ = run(tmp_path / "muon", optimizer="muon", **settings)
    adamw, _ = run(tmp_path / "adamw", **settings)
    start = dict(tiny_model().named_parameters())
    other = dict(adamw.named_parameters())
    moved = {}
    for name, parameter in muon.named_parameters():
        if "layers" in name and parameter.dim() == 2:
            moved[name] = (start[name] - parameter).detach()
        else:
            assert torch.equal(parameter, other[name]), name
    assert len(moved) == 2 * 7
    rate = 1e-2 * 1 / 2  # of the first of two warm-up steps
    for name in ("backbone.model.layers.0.mlp.up_proj.weight",):
        update = moved[name] / (rate * 0.2 * max(moved[name].shape) ** 0.5)
        # the five iterations bring the singular values near 1: between 0.7 and 1.2
        assert torch.linalg.svdvals(update).median() == pytest.approx(1.0, abs=0.3)


def test_training_stops_when_the_score_does(tmp_path: Path):
    """Two evaluations without gain end it; the best step is kept, and it stays ended."""
    scores = iter([1.0, 5.0, 4.0, 3.0])
    evaluate = {"evaluate": lambda: {"score": next(scores)}}
    model, report = run(tmp_path, steps=50, eval_every=2, patience=2, objective=evaluate)
    assert (report.steps, report.best_step, report.best_score) == (8, 4, 5.0)
    again, second = run(tmp_path, steps=50, eval_every=2, patience=2, objective=evaluate)
    assert (second.steps, second.resumed_from) == (8, 8)
    assert distance(model, again) == 0


def hungry(model, most_rows: int):
    """A loss that asks for more memory than there is when a batch has too many rows."""

    def loss(batch: Stage1Batch, number: int) -> dict[str, torch.Tensor]:
        terms = losses(model)(batch, number)
        if len(batch.text.input_ids) > most_rows:
            torch.empty(2**50)
        return terms

    return loss


def test_out_of_memory_halves_the_batch_and_changes_nothing_else(tmp_path: Path, caplog):
    """Four rows that fit one by one: two halvings, the same weights, and it is said."""
    run(tmp_path / "whole", steps=6, learning_rate=1e-3)
    model = tiny_model()
    config = LoopConfig(
        steps=6, learning_rate=1e-3, warmup_steps=2, save_every=3, eval_every=4, precision="fp32"
    )
    objective = Objective(examples, hungry(model, 1), lambda: {"score": 0.0}, split_stage1)
    report = fit(model, config, objective=objective, folder=tmp_path / "small")
    whole, parts = load_weights(tmp_path / "whole"), load_weights(tmp_path / "small")
    # Adam divides by the gradient's size, which magnifies the last bits of small gradients
    assert max(float((whole[name] - parts[name]).abs().max()) for name in whole) < 2e-5
    assert [note.split(":")[0] for note in report.notes] == ["out of memory at step 1"] * 2
    assert "in 4 parts" in caplog.text
    assert lines(tmp_path / "small")[0]["n_parts"] == 4


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The last weights of a run, best or not."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "state.safetensors")
    return {name: t for name, t in tensors.items() if name.startswith("weights/")}


@pytest.mark.parametrize("split", [None, split_stage1])
def test_a_row_that_does_not_fit_is_refused(tmp_path: Path, split):
    """Where a batch cannot be cut (further), the error says which setting to lower."""
    model = tiny_model()
    objective = Objective(examples, hungry(model, 0), lambda: {"score": 0.0}, split)
    with pytest.raises(TrainingError, match=r"does not fit the memory(.|\n)*batch_tokens"):
        fit(model, LoopConfig(steps=2), objective=objective, folder=tmp_path)


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
    course = [line["loss"] for line in lines(tmp_path) if "loss" in line]
    assert course[-1] < course[0]


def test_auto_precision_is_one_of_the_two():
    """`auto` decides by a measurement; a fixed wish is kept."""
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) in ("bf16", "fp32")
    assert choose_precision("bf16", cpu) == "bf16"


def test_a_folder_of_other_settings_is_refused(tmp_path: Path):
    """The error names the setting and both values; nothing is trained or changed."""
    run(tmp_path, steps=3)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="optimizer = 'adamw' there and 'muon' here"):
        run(tmp_path, steps=3, optimizer="muon")
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    """A state file that was cut off is an error with the way to start again."""
    run(tmp_path, steps=3)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(TrainingError, match=r"state.safetensors is damaged(.|\n)*start this stage"):
        run(tmp_path, steps=3)


def test_batches_made_ahead_are_the_same_and_never_need_a_model_that_is_not_there():
    """Every number once and in order; where the model decides, not before it is asked for."""
    made = []

    def batch(number: int) -> int:
        made.append(number)
        return number * 10

    objective = Objective(batch, lambda *_: {}, dict, needs_model=lambda number: number == 3)
    ahead = Ahead(objective, is_on=True)
    assert [ahead.batch(n, following=n + 1) for n in range(3)] == [0, 10, 20]
    assert made == [0, 1, 2]  # 3 waits for the model
    assert ahead.batch(3, following=4) == 30
    assert ahead.batch(9, following=3) == 90  # after a roll-back: 4 was begun for nothing
    assert made == [0, 1, 2, 3, 4, 9]
    made.clear()
    assert Ahead(objective, is_on=False).batch(0, following=1) == 0
    assert made == [0]


def test_a_batch_that_cannot_be_made_ahead_fails_where_it_is_wanted():
    """Its error is neither lost nor raised a step too early."""

    def batch(number: int) -> int:
        if number == 1:
            raise ValueError("no such batch")
        return number

    ahead = Ahead(Objective(batch, lambda *_: {}, dict), is_on=True)
    assert ahead.batch(0, following=1) == 0
    with pytest.raises(ValueError, match="no such batch"):
        ahead.batch(1, following=2)
