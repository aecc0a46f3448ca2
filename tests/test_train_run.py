"""`train` end to end on a toy corpus: both stages, refusals, and a checkpoint that works."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.encoder.read_texts import has_read
from lbr_search.errors import ConfigError, TrainingError
from lbr_search.train.recipe import RECIPE_FOLDER, load_recipe
from lbr_search.train.run import train
from lbr_search.train.sources import own_data
from lbr_search.train.start import untrained_model

NAMES = [f"{a}{b}" for a in ("al", "be", "ga", "de", "ep") for b in ("tol", "rin", "zan", "mide")]
COLOURS = ["red", "green", "blue", "white"]
RECIPE = """
[model]
name = "toy"
n_layers = 2
hidden_size = 32
n_heads = 2
intermediate_size = 64
vocab_size = 400
max_tokens = 32
n_compression_tokens = 2
[data]
dev_pairs = 8
dev_passages = 40
[data.text]
"text/toy/t.jsonl" = 1
[data.pairs]
"pairs/toy/p.jsonl" = 1
[data.licences]
"text/toy/t.jsonl" = "CC0"
[stage1]
batch_tokens = 600
min_text_tokens = 8
max_text_tokens = 24
target_tokens = 16
[stage1_loop]
steps = 30
learning_rate = 5e-3
warmup_steps = 5
eval_every = 15
precision = "fp32"
save_every = 10
[stage2]
batch_size = 24
[stage2_loop]
steps = 60
learning_rate = 5e-3
warmup_steps = 5
eval_every = 20
precision = "fp32"
save_every = 10
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A corpus in which a name, a colour and a number go together."""
    facts = [(n, c, i) for i, n in enumerate(NAMES) for c in COLOURS]
    (tmp_path / "text/toy").mkdir(parents=True)
    (tmp_path / "pairs/toy").mkdir(parents=True)
    texts = [{"id": n, "text": f"{n} is {c}. It dissolves in {c} water."} for n, c, _ in facts]
    pairs = [
        {"query": f"what is {c} {n}", "title": "", "positive": f"{n} is {c}", "group": f"{n}{c}"}
        for n, c, _ in facts
    ]
    (tmp_path / "text/toy/t.jsonl").write_text("\n".join(map(json.dumps, texts)))
    (tmp_path / "pairs/toy/p.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "toy.toml").write_text(RECIPE)
    return tmp_path


def test_two_stages_make_an_encoder_that_beats_its_backbone(toy: Path):
    """Trained vectors find the right passage more often; the card and run.toml stand beside."""
    report = train("all", toy / "toy.toml", out=toy / "out", data=toy)
    assert set(report.stages) == {"stage1", "stage2"}

    def accuracy(folder: Path) -> float:
        encoder = LbrEncoder(folder, dtype="float32")
        passages = [f"{n} is {c}" for n in NAMES for c in COLOURS]
        queries = [f"what is {c} {n}" for n in NAMES for c in COLOURS]
        scores = encoder.encode_queries(queries) @ encoder.encode_passages(passages).T
        return float((scores.argmax(axis=1) == np.arange(len(queries))).mean())

    trained, untrained = accuracy(report.checkpoint), accuracy(toy / "out" / "untrained")
    assert trained > untrained + 0.3, (trained, untrained)
    card = (report.checkpoint / "README.md").read_text()
    assert "| text/toy/t.jsonl | 1 | CC0 |" in card
    assert "| pairs/toy/p.jsonl | 1 | not stated in the recipe |" in card
    assert "### stage2, best step" in card
    assert "[stage2_loop]" in (toy / "out" / "run.toml").read_text()
    assert has_read(report.checkpoint, ["altol is red. It dissolves in  red water."]) == 1
    assert has_read(report.checkpoint, ["altol is red", "altol is redder"]) == 1
    assert has_read(toy / "out" / "untrained", ["altol is red"]) is None
    measures = report.measures["stage2"]
    assert {"dev_ndcg@10", "nll_y_z", "effective_rank", "token_cosine"} <= set(measures)
    saved = LbrEncoder(toy / "out" / "stage2" / "checkpoint", dtype="float32")
    assert saved.config.stage == "stage2"


def test_stages_one_by_one_are_the_same_as_all(toy: Path):
    """`stage1` then `stage2` gives the weights of `all`, and a finished run trains nothing more."""
    short = ["stage1_loop.steps=6", "stage2_loop.steps=6"]
    fingerprints = []
    for name, stages in (("parts", ("stage1", "stage2")), ("whole", ("all", "all"))):
        for stage in stages:
            report = train(stage, toy / "toy.toml", out=toy / name, data=toy, overrides=short)
        fingerprints.append(LbrEncoder(report.checkpoint, dtype="float32").fingerprint)
    assert fingerprints[0] == fingerprints[1]
    assert report.stages["stage2"].resumed_from == 6


def test_hard_negatives_train(toy: Path):
    """Mined negatives go through the same loop."""
    overrides = ["stage1_loop.steps=4", "stage2_loop.steps=8", "stage2.hard_negatives=2"]
    report = train("all", toy / "toy.toml", out=toy / "out", data=toy, overrides=overrides)
    assert np.isfinite(report.measures["stage2"]["dev_ndcg@10"])


def test_stage2_without_stage1_says_what_to_run(toy: Path):
    """The error names the missing checkpoint and the command."""
    with pytest.raises(TrainingError, match=r"starts from stage 1(.|\n)*train all"):
        train("stage2", toy / "toy.toml", out=toy / "out", data=toy)


def test_a_folder_of_another_recipe_is_refused(toy: Path):
    """Going on with other settings would mix two runs."""
    short = ["stage1_loop.steps=2"]
    train("stage1", toy / "toy.toml", out=toy / "out", data=toy, overrides=short)
    with pytest.raises(ConfigError, match="other settings"):
        train("stage1", toy / "toy.toml", out=toy / "out", data=toy)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage1_loop.step=3", "use steps"),
        ("stage3.steps=3", "unknown section"),
        ("stage2.temperature=0", "out of range"),
        ("stage1_loop.steps=many", "is not int"),
        ("steps=3", "not section.key=value"),
        ("model.hidden_size=30", "multiple of"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(toy: Path, override: str, message: str):
    """A typo names the nearest key; a bad value names its range."""
    with pytest.raises(ConfigError, match=message):
        train("all", toy / "toy.toml", out=toy / "out", data=toy, overrides=[override])
    assert not (toy / "out").exists()


def test_every_shipped_recipe_loads(tmp_path: Path):
    """Names, types and ranges of the recipes in the package are right."""
    names = [path.stem for path in RECIPE_FOLDER.glob("*.toml")]
    assert "lbr-mini-cpu" in names
    own = own_data([], [], home=tmp_path) | {"structure": {"docs": 1.0}}
    with pytest.raises(ConfigError, match="--text SOURCE"):
        load_recipe("lbr-mini-adapt")  # it is for an own corpus, and has no sources
    assert untrained_model(load_recipe("lbr-mini-adapt", data=own).model, None)
    for name in set(names) - {"lbr-mini-adapt"}:
        recipe = load_recipe(name)
        data = recipe.data
        sources = {*data.text, *data.pairs, *data.structure, *data.cloze}
        assert set(data.licences) == sources


def test_an_unknown_recipe_names_the_shipped_ones():
    """`train all lbr-mini-cpus` points to lbr-mini-cpu."""
    with pytest.raises(ConfigError, match=r"shipped: .*smoke(.|\n)*use lbr-mini-cpu"):
        load_recipe("lbr-mini-cpus")
