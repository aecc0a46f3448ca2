"""The phrase pool: what is frequent and cohesive, by counts made with plain Python."""

from __future__ import annotations

import itertools
from collections import Counter
from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch

from lbr_search.train import phrases
from lbr_search.train.batches import stage1_batch
from lbr_search.train.data import PairSource, TextSource, TrainingData
from lbr_search.train.phrases import MAX_TOKENS, MIN_COHESION, MIN_COUNT, mine_phrases, phrase_pool
from lbr_search.train.stage_config import Stage1Config
from lbr_search.train.tokens import TokenTable, token_table
from tests.tiny import tiny_tokenizer


def table(rows: list[list[int]]) -> TokenTable:
    lengths = [len(row) for row in rows]
    ids = np.array([token for row in rows for token in row], dtype=np.int32)
    return TokenTable(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def random_rows(seed: int) -> list[list[int]]:
    """Texts of chance tokens in which (50, 51, 52) and (60, 61) always go together."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(60):
        row: list[int] = []
        while len(row) < 25:
            if rng.random() < 0.1:
                row += [50, 51, 52] if rng.random() < 0.5 else [60, 61]
            row.append(int(rng.integers(0, 12)))
        rows.append(row)
    return rows


def mined_by_hand(rows: list[list[int]], letters: np.ndarray) -> dict[tuple[int, ...], tuple]:
    """n-gram -> (count, cohesion, t-score), each straight from its definition."""
    n_tokens = sum(map(len, rows))
    counts: Counter[tuple[int, ...]] = Counter()
    for row in rows:
        for n in range(1, MAX_TOKENS + 1):
            counts.update(tuple(row[i : i + n]) for i in range(len(row) - n + 1))
    found = {}
    for gram, count in counts.items():
        if len(gram) < 2 or count < MIN_COUNT or not letters[list(gram)].any():
            continue
        splits = [counts[gram[:s]] * counts[gram[s:]] / n_tokens for s in range(1, len(gram))]
        expected = max(splits)
        cohesion = log(count / expected) / log(n_tokens / count)
        if cohesion >= MIN_COHESION:
            found[gram] = (count, cohesion, (count - expected) / sqrt(count))
    return found


def pool_as_dict(pool: phrases.PhrasePool) -> dict[tuple[int, ...], tuple[int, float]]:
    return {
        tuple(int(t) for t in ids if t >= 0): (int(count), float(cohesion))
        for ids, count, cohesion in zip(pool.ids, pool.counts, pool.cohesion, strict=True)
    }


def test_the_pool_is_what_the_definition_says():
    """Counts, cohesion and rank equal a plain count over two tables; planted phrases are found."""
    first, second = random_rows(0), random_rows(1)
    letters = np.ones(70, dtype=bool)
    expected = mined_by_hand(first + second, letters)
    pool = mine_phrases([table(first), table(second)], letters, max_phrases=10_000, common_share=1)
    found = pool_as_dict(pool)
    assert found.keys() == expected.keys()
    assert {(50, 51, 52), (50, 51), (60, 61)} <= found.keys()
    assert len(found) < 40  # of some thousand n-grams
    for gram, (count, cohesion, _) in expected.items():
        assert found[gram] == (count, pytest.approx(cohesion, abs=1e-5))
    scores = [expected[gram][2] for gram in found]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(scores))
    few = mine_phrases([table(first), table(second)], letters, max_phrases=3, common_share=1)
    assert few.ids.tolist() == pool.ids[:3].tolist()


def test_a_phrase_needs_a_letter_and_does_not_cross_texts():
    """Punctuation that goes together is no phrase; neither are the end and beginning of texts."""
    rows = [[60, 1, 2, 61]] * 30
    letters = np.ones(70, dtype=bool)
    assert (61, 60) not in pool_as_dict(
        mine_phrases([table(rows)], letters, max_phrases=99, common_share=1)
    )
    assert (1, 2) in pool_as_dict(
        mine_phrases([table(rows)], letters, max_phrases=99, common_share=1)
    )
    letters[[1, 2]] = False
    found = pool_as_dict(mine_phrases([table(rows)], letters, max_phrases=99, common_share=1))
    assert (1, 2) not in found
    assert (60, 1, 2) in found


def test_a_phrase_does_not_begin_or_end_with_a_common_token():
    """Where " of" is everywhere, "loss of" is no phrase, and "loss of hair" is one."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(10, 70, size=20).tolist() for _ in range(40)]
    rows += [[70, 9, 71], [72, 9, 73], [74, 9]] * 15
    letters = np.ones(80, dtype=bool)
    known, left = (
        pool_as_dict(mine_phrases([table(rows)], letters, max_phrases=999, common_share=share))
        for share in (1.0, 0.03)
    )
    assert {(70, 9), (74, 9), (9, 73)} <= known.keys()
    assert {(70, 9, 71), (72, 9, 73)} <= left.keys()
    assert left.keys() == {gram for gram in known if 9 not in (gram[0], gram[-1])}


def test_tokens_inside_phrases_are_marked():
    """Every token of a pooled run is marked, overlaps too; a run that padding cuts is not."""
    ids = np.full((2, MAX_TOKENS), -1, dtype=np.int32)
    ids[0, :2], ids[1, :3] = [5, 6], [6, 7, 8]
    pool = phrases.PhrasePool(ids, np.ones(2, np.int64), np.ones(2, np.float32))
    rows = np.array([[5, 6, 7, 8, 5, 0, 6], [9, 6, 7, 8, 5, 6, 7], [5, 5, 6, 7, 9, 6, 8]])
    is_text = np.ones(rows.shape, dtype=bool)
    is_text[1, 5:] = False
    assert pool.inside(rows, is_text).astype(int).tolist() == [
        [1, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
    ]
    assert not pool.inside(rows[:, :1], is_text[:, :1]).any()


@pytest.fixture(autouse=True)
def _nothing_is_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """In texts of a hundred words every word is more than a thousandth."""
    monkeypatch.setattr(phrases, "COMMON_SHARE", 1.0)


def toy_data() -> TrainingData:
    tokenizer = tiny_tokenizer()
    texts = token_table(tokenizer, ["benzene ring and insulin", "a list in place"] * 40)
    passages = token_table(tokenizer, ["sort a list", "blood"] * 10)
    rows = np.arange(20)
    keys = np.stack([rows] * 3, axis=1)
    pairs = PairSource("pairs/code/p", 1.0, passages, passages, keys, rows[:16], rows[16:])
    return TrainingData(
        [TextSource("t", 1.0, texts, np.arange(len(texts)))], [pairs], [1], [2], 3, 400, {}
    )


def test_the_pool_is_cached_by_what_it_was_mined_from(tmp_path: Path, monkeypatch):
    """A second call reads the file; another text or another limit mines again."""
    data, tokenizer = toy_data(), tiny_tokenizer()
    first = phrase_pool(data, tokenizer, max_phrases=50, cache=tmp_path)
    assert len(first) > 3
    texts = [tokenizer.decode([t for t in row if t >= 0]).strip() for row in first.ids.tolist()]
    assert any(text in "benzene ring" for text in texts)

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("mined again")

    with monkeypatch.context() as patch:
        patch.setattr(phrases, "mine_phrases", refuse)
        again = phrase_pool(data, tokenizer, max_phrases=50, cache=tmp_path)
        assert again.ids.tolist() == first.ids.tolist()
        with pytest.raises(AssertionError, match="mined again"):
            phrase_pool(data, tokenizer, max_phrases=49, cache=tmp_path)
        data.text[0].texts.ids[0] += 1
        with pytest.raises(AssertionError, match="mined again"):
            phrase_pool(data, tokenizer, max_phrases=50, cache=tmp_path)


def test_held_out_passages_are_not_mined():
    """What dev evaluation holds out adds no count."""
    (table_of_text, table_of_pairs) = phrases._training_tables(toy_data())
    assert len(table_of_text) == 80
    assert len(table_of_pairs) == 16
    assert table_of_pairs.row(15, limit=99) == toy_data().pairs[0].passages.row(15, limit=99)


def test_a_batch_marks_its_phrases_and_is_otherwise_the_same(tmp_path: Path):
    """Marks are those of the pool on x and y; the tokens are those of a batch without a pool."""
    data = toy_data()
    pool = phrase_pool(data, tiny_tokenizer(), max_phrases=50, cache=tmp_path)
    config = Stage1Config(batch_tokens=240, pair_share=0.0)
    plain = stage1_batch(data, config, seed=3, step=4)
    made = stage1_batch(data, config, seed=3, step=4, phrases=pool)
    assert torch.equal(made.text.input_ids, plain.text.input_ids)
    assert plain.text_phrases is None
    known = {tuple(t for t in row if t >= 0) for row in pool.ids.tolist()}
    for part, marks in ((made.text, made.text_phrases), (made.target, made.target_phrases)):
        for ids, is_text, found in zip(part.input_ids, part.text_mask, marks, strict=True):
            row = ids[is_text].tolist()
            inside = set()
            for n in range(2, MAX_TOKENS + 1):
                for i in range(len(row) - n + 1):
                    inside |= set(range(i, i + n)) if tuple(row[i : i + n]) in known else set()
            assert set(found.nonzero()[:, 0].tolist()) == inside
    assert made.text_phrases.any()
    assert not made.text_phrases.all()
