"""Training data: batches follow from the step, groups are never negatives, nothing is lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import CorpusError
from lbr_search.train.batches import stage1_batch, stage2_batch
from lbr_search.train.data import TrainingData, load_data
from lbr_search.train.evaluate import DevSet, dev_sets, ndcg_at_10
from lbr_search.train.mining import mine_hard_negatives
from lbr_search.train.recipe import DataConfig
from lbr_search.train.sources import read_pairs
from lbr_search.train.stage_config import Stage1Config, Stage2Config
from tests.tiny import tiny_tokenizer

CONFIG = DataConfig(
    text={"text/code/notes.jsonl": 1.0},
    pairs={"pairs/code/a.jsonl": 1.0, "pairs/medical/b.jsonl.gz": 3.0},
    dev_pairs=6,
    dev_passages=20,
)


def write_sources(folder: Path) -> None:
    (folder / "text/code").mkdir(parents=True)
    (folder / "pairs/code").mkdir(parents=True)
    (folder / "pairs/medical").mkdir(parents=True)
    notes = [{"id": str(n), "title": f"note {n}", "text": f"sort list {n} " * 30} for n in range(5)]
    (folder / "text/code/notes.jsonl").write_text("\n".join(map(json.dumps, notes)))
    rows = [
        {
            "query": f"query {n}",
            "title": "",
            "positive": f"answer {n} {'x' * (n % 7)}",
            "group": f"g{n // 2}",
        }
        for n in range(60)
    ]
    text = "\n".join(json.dumps(row) for row in [*rows, rows[0]])  # one exact duplicate
    (folder / "pairs/code/a.jsonl").write_text(text)
    with gzip.open(folder / "pairs/medical/b.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps({**row, "group": ""}) for row in rows))


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    write_sources(tmp_path)
    return load(tmp_path)


def load(folder: Path) -> TrainingData:
    return load_data(
        CONFIG,
        folder,
        tokenizer=tiny_tokenizer(),
        prompts=("<query>", "<passage>"),
        n_compression_tokens=3,
        cache=folder / "cache",
    )


def test_counts_say_what_was_read_and_dropped(data: TrainingData):
    """Exact duplicates are dropped and counted; dev and train together are all the rest."""
    counts = data.counts["pairs/code/a.jsonl"]
    assert counts["duplicates_dropped"] == 1
    assert (counts["train"], counts["dev"]) == (54, 6)
    assert data.counts["text/code/notes.jsonl"]["documents"] == 5


def test_no_group_is_in_both_train_and_dev(data: TrainingData):
    """A held-out entity is never trained on."""
    for source in data.pairs:
        train, dev = (set(source.keys[rows, 0].tolist()) for rows in (source.train, source.dev))
        assert not train & dev
        assert dev


def test_the_cache_gives_the_same_data(tmp_path: Path, data: TrainingData):
    """A second load reads tables instead of texts, and yields the same batches."""
    again = load(tmp_path)
    one, two = (stage2_batch(d, Stage2Config(batch_size=8), seed=1, step=5) for d in (data, again))
    assert one.queries.input_ids.tolist() == two.queries.input_ids.tolist()


def test_a_changed_file_is_read_again(tmp_path: Path, data: TrainingData):
    """The cache belongs to the file's content, not to its name."""
    path = tmp_path / "pairs/code/a.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:40]))
    assert load(tmp_path).counts["pairs/code/a.jsonl"]["train"] < 54


def test_batches_depend_on_seed_and_step_alone(data: TrainingData):
    """The same step gives the same batch in any order; another step or seed another one."""
    config = Stage1Config(batch_tokens=300)
    at = {step: stage1_batch(data, config, seed=1, step=step) for step in (7, 3, 8)}
    again = stage1_batch(data, config, seed=1, step=3)
    assert again.text.input_ids.tolist() == at[3].text.input_ids.tolist()
    assert again.target.input_ids.tolist() == at[3].target.input_ids.tolist()
    assert at[7].text.input_ids.tolist() != at[8].text.input_ids.tolist()
    other = stage1_batch(data, config, seed=2, step=3)
    assert other.text.input_ids.tolist() != at[3].text.input_ids.tolist()


def test_stage1_targets_continue_their_text(data: TrainingData):
    """Without reconstruction, x then y is a piece of the document, with nothing between."""
    config = Stage1Config(
        batch_tokens=400, pair_share=0.0, reconstruction_share=0.0, max_text_tokens=40
    )
    flat = data.text[0].texts.ids.tolist()
    joined = " ".join(map(str, flat))
    for step in range(5):
        batch = stage1_batch(data, config, seed=0, step=step)
        for row in range(len(batch.text.input_ids)):
            ids = batch.text.input_ids[row][batch.text.text_mask[row]].tolist()
            target = batch.target.input_ids[row][batch.target.text_mask[row]].tolist()
            assert ids[: len(data.passage_prompt)] == data.passage_prompt
            piece = ids[len(data.passage_prompt) :] + target
            assert " ".join(map(str, piece)) in joined


def test_stage1_pairs_generate_the_query(data: TrainingData):
    """With pairs only, y is the query of the passage x."""
    batch = stage1_batch(data, Stage1Config(batch_tokens=300, pair_share=1.0), seed=0, step=0)
    pairs = {
        (tuple(s.passages.row(i, limit=999)), tuple(s.queries.row(i, limit=999)))
        for s in data.pairs
        for i in s.train
    }
    for row in range(len(batch.text.input_ids)):
        text = batch.text.input_ids[row][batch.text.text_mask[row]].tolist()
        target = batch.target.input_ids[row][batch.target.text_mask[row]].tolist()
        assert (tuple(text[len(data.passage_prompt) :]), tuple(target)) in pairs


def test_rows_of_one_group_are_never_negatives(data: TrainingData):
    """`excluded` marks exactly the rows that share group, query or passage."""
    source = data.pairs[0]
    alone = TrainingData([], [source], [1], [2], 3, 400, {})
    batch = stage2_batch(alone, Stage2Config(batch_size=50), seed=0, step=0)
    by_query = {tuple([1, *source.queries.row(i, limit=48)]): i for i in source.train}
    rows = [
        by_query[tuple(batch.queries.input_ids[i][batch.queries.text_mask[i]].tolist())]
        for i in range(50)
    ]
    groups = source.keys[rows, 0]
    assert (batch.excluded == (groups[:, None] == groups[None, :])).all()
    assert batch.excluded.sum() > 50  # pairs of neighbours share a group


def test_mined_negatives_are_near_and_of_other_groups(tmp_path: Path, data: TrainingData):
    """BM25 finds passages of other groups; the batch holds G = 1 + n passages a query."""
    mined = mine_hard_negatives(data.pairs, tiny_tokenizer(), n=2, cache=tmp_path / "cache")
    for source in data.pairs:
        for row in source.train:
            others = mined[source.name][row]
            others = others[others >= 0]
            assert not (source.keys[others] == source.keys[row]).any()
            assert set(others) <= set(source.train.tolist())
    config = Stage2Config(batch_size=8, hard_negatives=2)
    batch = stage2_batch(data, config, seed=0, step=0, negatives=mined)
    assert batch.passages.input_ids.shape[0] == 24
    assert batch.excluded[np.arange(8), np.arange(8) * 3].all()


def test_a_title_that_repeats_the_query_is_left_out(tmp_path: Path):
    """Name -> "name definition" would teach copying; other titles stay."""
    path = tmp_path / "p.jsonl"
    rows = [
        {"query": "Asthma", "title": "asthma", "positive": "a lung disease", "group": "1"},
        {"query": "wheezing", "title": "asthma", "positive": "a lung disease", "group": "1"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [p for _, p, _ in read_pairs(path, rejects=Rejects(None))] == [
        "a lung disease",
        "asthma a lung disease",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"query": "a"', "a.jsonl:2"), ('{"query": "a"}', "positive"), ("[1]", "a.jsonl:2")],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str):
    """File and line, and nothing trained on half a file."""
    write_sources(tmp_path)
    path = tmp_path / "pairs/code/a.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n" + line + "\n")
    with pytest.raises(CorpusError, match=message):
        load(tmp_path)


def test_a_missing_source_names_the_option(tmp_path: Path):
    """The error says which file, where it was looked for, and `--data`."""
    with pytest.raises(CorpusError, match=r"notes\.jsonl(.|\n)*--data"):
        load(tmp_path)


def test_dev_sets_hold_the_answer_and_ignore_its_group(data: TrainingData):
    """Each dev query has one relevant passage; rows of its group count neither way."""
    for dev in dev_sets(data, CONFIG, Stage2Config()):
        assert dev.is_relevant.sum(axis=1).tolist() == [1] * len(dev.queries)
        assert (dev.is_ignored | ~dev.is_relevant).all()
        assert len(dev.passages) == 20


def test_dev_ndcg_by_hand():
    """Ranks 1, 3 and 11 give 1, 1/2 and 0; a better-scored passage of the group is skipped."""
    relevant = np.zeros((3, 12), dtype=bool)
    relevant[:, 0] = True
    ignored = relevant.copy()
    ignored[1, 11] = True
    scores = np.tile(np.linspace(0, 1, 12, dtype=np.float32), (3, 1))
    scores[0, 0], scores[1, 0], scores[2, 0] = 2.0, 0.75, 0.05
    dev = DevSet("s", "d", [[1]] * 3, [[1]] * 12, relevant, ignored)
    # row 1: 9/11=.82, 10/11=.91 and the ignored 1.0 are above .75 -> rank 3; row 2: rank 11
    assert ndcg_at_10(scores, dev) == pytest.approx((1 + 0.5 + 0) / 3)
