"""The ablation: controls differ in what they say, every number is paired, a stop loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lbr_search.bench.ablation import Arm, differences, markdown, table
from lbr_search.bench.dense import dense_ndcg
from lbr_search.bench.significance import compare, holm
from lbr_search.config import load_toml
from lbr_search.corpus.suite import load_suite
from lbr_search.encoder.batching import collate
from lbr_search.errors import ConfigError
from lbr_search.train import ablate
from lbr_search.train.batches import Stage1Batch
from lbr_search.train.control import plain_loss
from lbr_search.train.loop import FitReport
from lbr_search.train.run import TrainReport
from tests.conftest import HashEncoder
from tests.hash_cli import run
from tests.test_cli import write_suite
from tests.test_train_run import RECIPE
from tests.tiny import tiny_model

HEALTH = {"effective_rank": 20.0, "nll_y": 5.0, "nll_y_z": 3.5}
MEASURES = {"stage1": HEALTH, "stage2": HEALTH}


def write_toy(folder: Path) -> Path:
    """A recipe, its data, and a suite with a dev split."""
    (folder / "text/toy").mkdir(parents=True)
    (folder / "pairs/toy").mkdir(parents=True)
    rows = [
        {"query": f"what is item{n}", "positive": f"item{n} is thing{n}", "text": f"word{n} " * 20}
        for n in range(40)
    ]
    for name in ("text/toy/t.jsonl", "pairs/toy/p.jsonl"):
        (folder / name).write_text("\n".join(map(json.dumps, rows)))
    (folder / "toy.toml").write_text(RECIPE)
    suite = write_suite(folder / "suite", "medical")
    (suite / "qrels/test.tsv").rename(suite / "qrels/dev.tsv")
    return folder / "toy.toml"


def arm(name: str, *seeds: dict[str, dict[str, float]]) -> Arm:
    return Arm(name, seeds, HEALTH)


def test_differences_are_those_of_seed_means_over_suites_of_equal_weight():
    """A small suite counts as much as a large one; p is corrected over all comparisons."""
    rng = np.random.default_rng(0)
    large = {f"q{n}": float(rng.random()) for n in range(60)}
    cl = arm("cl", {"a": large, "b": {"q": 0.2, "r": 0.4}})
    better = {name: min(1.0, value + 0.2) for name, value in large.items()}
    lbr = arm(
        "lbr", {"a": better, "b": {"q": 0.2, "r": 0.6}}, {"a": large, "b": {"q": 0.2, "r": 0.4}}
    )
    cpt = arm("cpt-cl", {"a": large, "b": {"q": 0.3, "r": 0.4}})
    found = {(d.arm, d.baseline): d for d in differences([cl, cpt, lbr])}
    assert set(found) == {("cpt-cl", "cl"), ("lbr", "cl"), ("cl", "cpt-cl"), ("lbr", "cpt-cl")}
    mean_a = np.mean([(better[q] - large[q]) / 2 for q in large])
    first = found["lbr", "cl"]
    assert first.overall.difference == pytest.approx((mean_a + 0.05) / 2)
    alone = compare(lbr.values["a"], cl.values["a"])
    assert first.by_suite["a"] == alone
    ps = [found[pair].overall.p_value for pair in found]
    assert [found[pair].p_holm for pair in found] == holm(ps)
    assert lbr.seed_deviation == pytest.approx(np.std([first.overall.difference * 2, 0], ddof=1))


def test_the_table_has_a_row_an_arm_and_no_difference_to_itself():
    """Headings, values, an empty cell where an arm is its own baseline, nats through Z."""
    cl = arm("cl", {"s": {"q": 0.5, "r": 0.5}})
    lbr = arm("lbr", {"s": {"q": 0.75, "r": 0.75}})
    headings, rows = table([cl, lbr])
    assert headings == [
        "arm", "s", "mean", "SD of seeds", "- cl (95 %)", "p (Holm)", "effective rank",
        "nats through Z",
    ]  # fmt: skip
    assert rows == [
        ["cl", "0.500", "0.500", "0.000", "", "", "20", "1.50"],
        ["lbr", "0.750", "0.750", "0.000", "+0.250 (+0.250 to +0.250)", "0.500", "20", "1.50"],
    ]
    assert "seeds: 1; queries: s 2." in markdown([cl, lbr])


def test_dense_values_are_those_of_exact_search(tmp_path: Path):
    """A query that equals its documents' sentence finds one of them first; judged by nDCG@10."""
    suite = load_suite(write_suite(tmp_path / "suite", "medical"), home=tmp_path)
    values = dense_ndcg(HashEncoder(dim=4096), [suite])["suite"]
    assert values == pytest.approx({"q0": 1.0, "q1": 1.0, "q2": 1.0})


def test_plain_language_modelling_reads_x_then_y_and_no_compression_token():
    """Its loss is the cross-entropy of the joined text, and only the backbone learns."""
    model = tiny_model()
    texts, targets = [[5, 6, 7, 8], [9, 10]], [[11, 12], [13, 14, 15]]
    batch = Stage1Batch(
        collate(texts, n_compression_tokens=3), collate(targets, n_compression_tokens=0)
    )
    loss = plain_loss(model, batch, every=1)["loss"]
    sums, count = 0.0, 0
    for text, target in zip(texts, targets, strict=True):
        ids = torch.tensor([text + target])
        states = model.backbone.states(model.backbone.embedding(ids))
        logits = model.backbone.logits(states[0, :-1])
        sums += float(functional.cross_entropy(logits, ids[0, 1:], reduction="sum").detach())
        count += ids.shape[1] - 1
    assert float(loss.detach()) == pytest.approx(sums / count, abs=1e-5)
    loss.backward()
    assert model.compression.grad is None and model.bridge.weight.grad is None
    assert model.backbone.embedding.weight.grad.abs().sum() > 0


class FakeTraining:
    """Stands for `train`: notes what is asked for and leaves the files that a run leaves."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, stage: str, recipe: Path, *, out: Path, overrides: list[str], **_: object):
        self.asked.append((out.name, (out / "stage1").exists()))
        for folder in ("untrained", "stage1/checkpoint", "stage2", "checkpoint"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        (out / "stage1/state.safetensors").write_text(out.name)
        fit = FitReport(1, 1, 0.5, 0, 0, 2.0, "fp32")
        return TrainReport(out / "checkpoint", {"stage1": fit, "stage2": fit}, MEASURES, {})


def test_a_stopped_ablation_goes_on_and_stage_1_is_trained_once(tmp_path: Path, monkeypatch):
    """What is measured is not trained again; arms with one stage 1 share it; weights then go."""
    recipe = write_toy(tmp_path)
    training = FakeTraining()
    monkeypatch.setattr(ablate, "train", training)
    plan = ablate.Plan(recipe, tmp_path / "out", tmp_path)
    measured = []

    def measure(checkpoint: Path) -> dict[str, dict[str, float]]:
        measured.append(checkpoint.parent.name)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return {"s": {"q": 0.5}}

    def go(arms: list[str], suites: dict[str, str] | None = None) -> list[ablate.ArmRun]:
        on = suites or {"s": "digest"}
        return ablate.run_arms(plan, arms=arms, n_seeds=2, measure=measure, measured_on=on)

    with pytest.raises(KeyboardInterrupt):
        go(["cl", "lbr", "lbr-no-gen"])
    # lbr-no-gen began with the stage 1 of lbr; cl has another
    assert training.asked == [
        ("cl-seed13", False),
        ("lbr-seed13", False),
        ("lbr-no-gen-seed13", True),
    ]
    runs = go(["cl", "lbr", "lbr-no-gen"])
    assert [name for name, _ in training.asked[3:]] == [
        "lbr-no-gen-seed13", "cl-seed14", "lbr-seed14", "lbr-no-gen-seed14",
    ]  # fmt: skip
    assert [(r.arm, r.seed, r.seconds) for r in runs[:2]] == [("cl", 13, 4.0), ("lbr", 13, 4.0)]
    assert not list((tmp_path / "out").rglob("*.safetensors"))
    assert (tmp_path / "out/lbr-seed13/checkpoint").is_dir()
    go(["cl", "lbr", "lbr-no-gen"])
    assert len(training.asked) == 7
    with pytest.raises(ConfigError, match="another recipe or on other suites"):
        go(["cl"], {"s": "changed"})
    with pytest.raises(ConfigError, match="use lbr"):
        go(["lbrr"])


def test_the_command_trains_two_arms_and_writes_the_table(tmp_path: Path):
    """One step an arm, for real: files, one table, and the settings in which the arms differ."""
    recipe, out = write_toy(tmp_path), tmp_path / "out"
    few = [f"--set=stage{n}_loop.steps=1" for n in (1, 2)]
    command = ["train", "ablate", recipe, "--data", tmp_path, "--out", out, *few]
    command += ["--suites", tmp_path / "suite", "--arms", "cl,cpt-cl", "--seeds", 1]
    outcome = run(*command)
    assert outcome.code == 0, outcome.err
    found = json.loads((out / "ablation.json").read_text())
    assert set(found["arms"]) == {"cl", "cpt-cl"}
    assert set(found["arms"]["cl"]["per_query"]["suite"]) == {"q0", "q1", "q2"}
    assert {d["arm"] for d in found["differences"]} == {"cl", "cpt-cl"}
    assert "| cpt-cl |" in (out / "ablation.md").read_text()
    assert "Ablation of" in outcome.out and "cpt-cl" in outcome.out
    log = (out / "cpt-cl-seed13/stage1/log.jsonl").read_text()
    assert "nll_x" in log and not (out / "cl-seed13/stage1/log.jsonl").exists()


def test_a_variant_is_a_further_arm_whose_settings_may_not_change(tmp_path: Path):
    """It is trained with its own settings; under one name they stay; an arm's name is taken."""
    recipe, out = write_toy(tmp_path), tmp_path / "out"
    few = [f"--set=stage{n}_loop.steps=1" for n in (1, 2)]
    command = ["train", "ablate", recipe, "--data", tmp_path, "--out", out, *few]
    command += ["--suites", tmp_path / "suite", "--arms", "cl", "--seeds", 1]
    narrow = "narrow:model.n_compression_tokens=2"
    outcome = run(*command, "--variant", narrow, "--variant", "narrow:stage1.pair_share=0.5")
    assert outcome.code == 0, outcome.err
    assert set(json.loads((out / "ablation.json").read_text())["arms"]) == {"cl", "narrow"}
    settings = load_toml(out / "narrow-seed13/run.toml")
    assert settings["model"]["n_compression_tokens"] == 2
    assert settings["stage1"]["pair_share"] == 0.5
    for variant, complaint in {
        narrow: "a run with other settings",
        "lbr:stage1.pair_share=1.0": "is an arm already",
        "wide:model.n_compression_token=8": "unknown key",
        "no setting": "is not NAME:section.key=value",
        "../up:stage1.pair_share=1.0": "is not NAME:section.key=value",
    }.items():
        refused = run(*command, "--variant", variant)
        assert refused.code == 1 and complaint in refused.err, refused.err
    assert not list(out.glob("wide*"))


def test_a_suite_without_dev_is_refused_before_anything_is_trained(tmp_path: Path):
    """The split that it has is named, and no folder is made."""
    recipe = write_toy(tmp_path)
    write_suite(tmp_path / "tested", "code")
    command = ["train", "ablate", recipe, "--data", tmp_path, "--out", tmp_path / "out"]
    outcome = run(*command, "--suites", tmp_path / "tested")
    assert outcome.code == 1 and "no split 'dev'; it has: test" in outcome.err
    assert not (tmp_path / "out").exists()
