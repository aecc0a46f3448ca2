"""Runs with the stages' options switched on: they train, and stopping changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tomli_w
import torch

from lbr_search.config import load_toml
from lbr_search.encoder.checkpoint import load_checkpoint, save_checkpoint
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.errors import ConfigError
from lbr_search.train.loop import Step
from lbr_search.train.run import TrainReport, train
from tests.test_checkpoint import CONFIG
from tests.test_distill import save_cross_encoder
from tests.test_train_run import toy as toy
from tests.tiny import tiny_model, tiny_tokenizer

SHORT = ["stage1_loop.steps=6", "stage2_loop.steps=6", "stage1_loop.save_every=2"]
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
        run(folder, "parts", *settings, stage=stage, stop=5)
    parts = run(folder, "parts", *settings, stage=stage)
    assert parts.stages[stage].resumed_from == 4
    checkpoints = [folder / name / stage / "checkpoint" for name in ("whole", "parts")]
    one, two = (load_checkpoint(path, dtype=torch.float32)[0] for path in checkpoints)
    expected = dict(one.named_parameters())
    assert all(torch.equal(expected[name], p) for name, p in two.named_parameters())
    return whole


def test_phrase_weights_train_and_resume(toy: Path, monkeypatch: pytest.MonkeyPatch):
    """The pool is mined once, the weight follows from the step, and the loss is another one."""
    # every token of so small a corpus is a common one
    monkeypatch.setattr("lbr_search.train.phrases.COMMON_SHARE", 1.0)
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
    assert run(toy, "out", stage="stage1").stages["stage1"].resumed_from == 6
    tables["stage1"]["lm_every"] = 2
    path.write_text(tomli_w.dumps(tables))
    with pytest.raises(ConfigError, match="other settings"):
        run(toy, "out", stage="stage1")


def test_stage_2_with_everything_resumes_exactly(toy: Path):
    """GradCache, sizes, a learned temperature, both kinds of mining and a cross-encoder."""
    judge = save_cross_encoder(toy / "judge", n_labels=1)
    settings = [
        "stage2.micro_batch=3",
        "stage2.matryoshka=[0.5]",
        "stage2.temperature_mode=learned",
        "stage2.symmetric=true",
        "stage2.hard_negatives=1",
        "stage2.model_negatives=1",
        "stage2.mine_every=3",
        "stage2.same_source_share=0.5",
        "stage2.distill=0.5",
        f'distill.cross_encoders=["{judge}"]',
        "stage1_loop.steps=1",
    ]
    report = assert_same_after_a_stop(toy, "stage2", *settings)
    log = [json.loads(line) for line in (toy / "whole/stage2/log.jsonl").read_text().splitlines()]
    steps = [line for line in log if "loss" in line]
    assert {"info_nce", "info_nce@16", "nll_q", "distill", "temperature"} <= steps[0].keys()
    assert steps[0]["temperature"] == pytest.approx(0.05, abs=1e-5)
    assert steps[-1]["temperature"] != steps[0]["temperature"]
    other = (toy / "parts/stage2/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["temperature"] for line in other if "temperature" in line] == [
        line["temperature"] for line in steps
    ]
    mined = sorted(path.name[:12] for path in (toy / "whole/stage2").glob("mined-*"))
    assert mined == ["mined-000003"]
    assert LbrEncoder(report.checkpoint, dtype="float32", dim=16).config.dims == (32, 16)
    names = {path.name for path in report.checkpoint.iterdir()}
    expected = {path.name for path in (toy / "whole/stage1/checkpoint").iterdir()}
    assert names - {"int8.safetensors"} == expected


def test_two_teachers_as_one_whose_vectors_are_kept(toy: Path):
    """A run that goes on learns from the values that it kept; the card names no folder."""
    begun = run(toy, "first", stage="all").checkpoint
    other = run(toy, "other", "data.seed=5", stage="all").checkpoint
    settings = [
        f'distill.teachers=["{begun}", "{other}"]',
        "distill.weights=[1, 3]",
        "distill.keep_vectors=true",
        "stage1.distill=1",
        "stage2.distill=1",
    ]
    report = assert_same_after_a_stop(toy, "stage2", *settings)
    assert "1 x checkpoint + 3 x checkpoint (as one teacher)" in (
        report.checkpoint / "README.md"
    ).read_text("utf-8")


def test_of_what_is_learnt_of_an_own_corpus_the_best_share_is_kept(toy: Path):
    """The start is tried too; what is published is what was chosen, and card and report say so."""
    run(toy, "first", stage="all")
    begun = toy / "first" / "checkpoint"
    goes_on = [f"model.from_checkpoint={begun}", "model.change_shares=[0, 0.5, 1]"]
    report = run(toy, "second", *goes_on, stage="all")
    kept = json.loads((toy / "second/stage2/interpolation.json").read_text("utf-8"))
    assert sorted(kept["scores"]) == ["0.0", "0.5", "1.0"]
    assert kept["scores"][str(kept["share"])] == max(kept["scores"].values())
    assert report.measures["stage2"]["score"] == kept["scores"][str(kept["share"])]
    assert any("by share of the change" in note for note in report.stages["stage2"].notes)
    assert "by share of the change" in (toy / "second/checkpoint/README.md").read_text("utf-8")
    nothing = run(toy, "third", *goes_on[:1], "model.change_shares=[0]", stage="all")
    one, two = (
        load_checkpoint(path, dtype=torch.float32)[0] for path in (begun, nothing.checkpoint)
    )
    same = dict(one.named_parameters())
    assert all(torch.equal(same[name], weight) for name, weight in two.named_parameters())
    with pytest.raises(ConfigError, match="no encoders to go back to"):
        run(toy, "fourth", "model.change_shares=[0, 1]", stage="all")
