"""Runs with the stages' options switched on: they train, and stopping changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tomli_w
import torch

from lbr_search.config import load_toml
from lbr_search.encoder.checkpoint import load_checkpoint, save_checkpoint
from lbr_search.errors import ConfigError
from lbr_search.train.loop import Step
from lbr_search.train.run import TrainReport, train
from tests.test_checkpoint import CONFIG
from tests.test_train_run import toy as toy
from tests.tiny import tiny_model, tiny_tokenizer

SHORT = ["stage1_loop.steps=5", "stage2_loop.steps=5", "stage1_loop.save_every=2"]
SHORT += ["stage2_loop.save_every=2", "stage1.batch_tokens=160", "stage2.batch_size=8"]


def run(folder: Path, out: str, *settings: str, stage: str, stop: int = 0) -> TrainReport:
    """Train a stage of the toy recipe; after step `stop` it is interrupted as Ctrl-C would."""

    def progress(_name: str, step: Step) -> None:
        if step.step == stop:
            raise KeyboardInterrupt

    return train(
        stage,
        folder / "toy.toml",
        out=folder / out,
        data=folder,
        overrides=[*SHORT, *settings],
        progress=progress,
    )


def assert_same_after_a_stop(folder: Path, stage: str, *settings: str) -> TrainReport:
    """Stopped past a checkpoint and run again: the weights of a run without a stop."""
    if stage == "stage2":
        run(folder, "whole", *settings, stage="stage1")
        shutil.copytree(folder / "whole", folder / "parts")
    whole = run(folder, "whole", *settings, stage=stage)
    with pytest.raises(KeyboardInterrupt):
        run(folder, "parts", *settings, stage=stage, stop=3)
    parts = run(folder, "parts", *settings, stage=stage)
    assert parts.stages[stage].resumed_from == 2
    checkpoints = [folder / name / stage / "checkpoint" for name in ("whole", "parts")]
    one, two = (load_checkpoint(path, dtype=torch.float32)[0] for path in checkpoints)
    expected = dict(one.named_parameters())
    assert all(torch.equal(expected[name], p) for name, p in two.named_parameters())
    return whole


def test_phrase_weights_train_and_resume(toy: Path):
    """The pool is mined once, the weight follows from the step, and the loss is another one."""
    with_phrases = assert_same_after_a_stop(toy, "stage1", "stage1.phrase_weight=4.0")
    assert len(list((toy / "whole/data").glob("phrases-*.safetensors"))) == 1
    without = run(toy, "without", stage="stage1")
    scores = [report.stages["stage1"].best_score for report in (with_phrases, without)]
    assert scores[0] != scores[1]


def test_the_kl_share_trains_from_a_pretrained_backbone(toy: Path):
    """The frozen copy is the backbone as it began, also when the run is resumed."""
    folder = toy / "backbone"
    save_checkpoint(tiny_model(), tiny_tokenizer(), CONFIG, folder, dtype=torch.float32)
    settings = [f"model.backbone={folder}", "stage1.kl_weight=0.5"]
    assert_same_after_a_stop(toy, "stage1", *settings)
    lines = (toy / "whole/stage1/log.jsonl").read_text()
    assert '"kl_y"' in lines


def test_a_kl_share_without_a_pretrained_backbone_is_refused(toy: Path):
    """A copy of random weights teaches nothing; the error says what to give."""
    with pytest.raises(ConfigError, match=r"kl_weight(.|\n)*\[model\] backbone"):
        run(toy, "out", "stage1.kl_weight=0.5", stage="stage1")


def test_a_run_of_an_earlier_version_goes_on(toy: Path):
    """A run.toml that lacks a newer setting had its default; another value is still refused."""
    run(toy, "out", stage="stage1")
    path = toy / "out/run.toml"
    tables = load_toml(path)
    del tables["stage1"]["phrase_weight"]
    path.write_text(tomli_w.dumps(tables))
    assert run(toy, "out", stage="stage1").stages["stage1"].resumed_from == 5
    tables["stage1"]["lm_every"] = 2
    path.write_text(tomli_w.dumps(tables))
    with pytest.raises(ConfigError, match="other settings"):
        run(toy, "out", stage="stage1")
