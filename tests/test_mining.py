"""Hard negatives by the model, and batches mixed over sources, against plain Python."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lbr_search.config import fingerprint
from lbr_search.train import mining
from lbr_search.train.batches import pair_rows, stage2_batch
from lbr_search.train.data import PairSource, TrainingData
from lbr_search.train.mining import HardNegatives, nearest_others
from lbr_search.train.recipe import DataConfig, DistillConfig, LoopConfig, ModelConfig, Recipe
from lbr_search.train.stage_config import Stage1Config, Stage2Config
from lbr_search.train.tokens import TokenTable
from tests.tiny import tiny_model

SIZE = 40


def source(name: str, weight: float, seed: int) -> PairSource:
    """40 pairs of random tokens; pairs of neighbours share a group, named alike in all sources."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 12, size=(2, SIZE))
    tables = [
        TokenTable(
            rng.integers(5, 390, size=int(sizes.sum())).astype(np.int32),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        )
        for sizes in lengths
    ]
    rows = np.arange(SIZE)
    keys = np.stack([rows // 2, 1_000 * seed + rows, 100_000 * seed + rows], axis=1)
    return PairSource(name, weight, *tables, keys, rows[:36], rows[36:])


def data() -> TrainingData:
    pairs = [
        source("pairs/code/a", 1.0, 1),
        source("pairs/code/b", 3.0, 2),
        source("pairs/medical/c", 2.0, 3),
    ]
    return TrainingData([], pairs, [1], [2], 3, 400, {})


def recipe(config: Stage2Config) -> Recipe:
    return Recipe(
        ModelConfig(),
        DataConfig({}, {"pairs/code/a": 1.0}),
        Stage1Config(),
        config,
        LoopConfig(),
        LoopConfig(),
        DistillConfig(),
    )


def test_the_default_batch_is_of_one_source_and_did_not_change():
    """The rows of a batch before mixing existed, drawn again with the same generator."""
    made = data()
    for step in range(6):
        rng = np.random.default_rng([7, 2, step])
        number = int(rng.choice(3, p=np.array([1, 3, 2]) / 6))
        candidates = rng.choice(36, size=32, replace=False)
        lengths = made.pairs[number].passages.lengths[candidates]
        order = candidates[np.argsort(lengths, kind="stable")]
        first = int(rng.integers(len(order) - 8 + 1))
        drawn = pair_rows(made, Stage2Config(batch_size=8), seed=7, step=step)
        assert set(drawn.sources.tolist()) == {number}
        assert drawn.rows.tolist() == order[first : first + 8].tolist()


def test_batches_are_mixed_by_their_shares():
    """Of one source, of one domain, or of all, as often as asked; no pair comes twice."""
    made = data()
    config = Stage2Config(batch_size=10, same_source_share=0.3, same_domain_share=0.3)
    kinds = {"source": 0, "domain": 0, "all": 0}
    from_b = []
    for step in range(400):
        drawn = pair_rows(made, config, seed=1, step=step)
        assert len(set(drawn.places())) == len(drawn.rows) == 10
        assert set(drawn.rows.tolist()) <= set(range(36))
        domains = {made.pairs[number].domain for number in drawn.sources}
        n_sources = len(set(drawn.sources.tolist()))
        kinds["all" if len(domains) > 1 else "domain" if n_sources > 1 else "source"] += 1
        if len(domains) > 1:
            from_b.append((drawn.sources == 1).mean())
    # medical has one source, so a third of its domain batches look like source batches
    assert kinds["source"] == pytest.approx(400 * (0.3 + 0.3 * 2 / 6), abs=40)
    assert kinds["domain"] == pytest.approx(400 * 0.3 * 4 / 6, abs=40)
    assert kinds["all"] == pytest.approx(400 * 0.4, abs=40)
    assert np.mean(from_b) == pytest.approx(0.5, abs=0.06)


def test_keys_exclude_across_sources():
    """In a mixed batch two rows of one group are no negatives, whatever their sources."""
    made = data()
    config = Stage2Config(batch_size=40, same_source_share=0.0)
    drawn = pair_rows(made, config, seed=0, step=2)
    batch = stage2_batch(made, config, seed=0, step=2)
    groups = drawn.rows // 2
    assert (batch.excluded == (groups[:, None] == groups[None])).all()
    across = batch.excluded & (drawn.sources[:, None] != drawn.sources[None])
    assert across.any()
    for place, (number, row) in enumerate(drawn.places()):
        ids = batch.passages.input_ids[place][batch.passages.text_mask[place]].tolist()
        assert ids == [2, *made.pairs[number].passages.row(row, limit=999)]


def test_mined_rows_are_of_the_pairs_own_source():
    """In a mixed batch each query's negatives are rows of its source; -1 becomes another row."""
    made = data()
    config = Stage2Config(batch_size=12, same_source_share=0.0)
    negatives = {s.name: np.full((SIZE, 2), -1) for s in made.pairs}
    for part in negatives.values():
        part[:, 0] = (np.arange(SIZE) + 5) % 36
    batch = stage2_batch(made, config, seed=3, step=1, negatives=negatives)
    drawn = pair_rows(made, config, seed=3, step=1)
    for place, (number, row) in enumerate(drawn.places()):
        passages = made.pairs[number].passages
        ids = [
            batch.passages.input_ids[3 * place + g][
                batch.passages.text_mask[3 * place + g]
            ].tolist()
            for g in range(3)
        ]
        assert ids[1] == [2, *passages.row((row + 5) % 36, limit=999)]
        assert ids[2] in [[2, *passages.row(other, limit=999)] for other in range(36)]


def test_nearest_others_equal_a_loop(monkeypatch: pytest.MonkeyPatch):
    """Best first, own keys and what is above 95 % of the positive left out, in blocks of two."""
    monkeypatch.setattr(mining, "BLOCK_QUERIES", 2)
    rng = np.random.default_rng(0)
    passages = rng.normal(size=(30, 4)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    own = np.array([3, 17, 8, 29, 0])
    queries = passages[own] + rng.normal(size=(5, 4)).astype(np.float32) * 0.4
    queries[4] = -passages[0]  # a positive below 0 leaves nothing out
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    keys = np.stack([np.arange(30) // 4, np.arange(30) + 100, np.arange(30) + 200], axis=1)
    keys = keys[rng.permutation(30)]
    found = nearest_others(queries, passages, keys=(keys[own], keys), n=25, margin=0.95)
    n_short = 0
    for i in range(5):
        scores = passages @ queries[i]
        positive = scores[own[i]]
        kept = [
            j
            for j in range(30)
            if keys[j, 0] != keys[own[i], 0] and not (positive > 0 and scores[j] > 0.95 * positive)
        ]
        expected = sorted(kept, key=lambda j: -scores[j])[:25]
        n_short += len(expected) < 25
        assert found[i].tolist() == expected + [-1] * (25 - len(expected))
    assert 0 < n_short < 5


def test_the_model_mines_when_a_period_begins_and_never_again(tmp_path: Path):
    """Before the first period BM25's alone; then the model's as it is then; then the file's."""
    made, model = data(), tiny_model()
    config = Stage2Config(
        batch_size=8, model_negatives=2, mine_every=3, hard_negatives=1, same_source_share=0.0
    )
    by_terms = {s.name: (np.arange(SIZE)[:, None] + 7) % 36 for s in made.pairs}
    negatives = HardNegatives(model, made, recipe(config), by_terms=by_terms, folder=tmp_path)
    assert negatives.at(0) is by_terms
    model.train()
    first = {name: part.copy() for name, part in negatives.at(3).items()}
    assert model.training
    expected_rows: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for step in (3, 4, 5):
        for number, row in pair_rows(made, config, seed=13, step=step).places():
            expected_rows[number].add(row)
    for number, part in enumerate(made.pairs):
        rows = sorted(expected_rows[number])
        assert (first[part.name][:, 0] == by_terms[part.name][:, 0]).all()
        others = np.setdiff1d(np.arange(SIZE), rows)
        assert (first[part.name][others, 1:] == -1).all()
        mined = first[part.name][rows, 1:]
        assert (mined >= 0).mean() > 0.5
        for row, negatives_of_row in zip(rows, mined, strict=True):
            for other in negatives_of_row[negatives_of_row >= 0]:
                assert other < 36
                assert other // 2 != row // 2
                assert other != by_terms[part.name][row, 0]
    with torch.no_grad():
        model.compression.add_(torch.randn_like(model.compression))
    assert_same(negatives.at(4), first)
    again = HardNegatives(model, made, recipe(config), by_terms=by_terms, folder=tmp_path)
    assert_same(again.at(5), first)  # a resumed run, whatever its weights are by now
    fresh = HardNegatives(model, made, recipe(config), by_terms=None, folder=tmp_path / "new")
    assert fresh.at(2) is None
    assert fingerprint({"a": fresh.at(3)["pairs/code/b"].tolist()}) != fingerprint(
        {"a": first["pairs/code/b"][:, 1:].tolist()}
    )
    assert negatives.at(1) is by_terms  # a step back


def test_mined_passages_are_those_the_encoder_puts_high(tmp_path: Path):
    """The best mined passage of each row scores highest of all that are allowed."""
    made, model = data(), tiny_model()
    made = dataclasses.replace(made, pairs=made.pairs[:1])
    config = Stage2Config(batch_size=8, model_negatives=1, mine_every=1, false_negative_margin=1.0)
    mined = HardNegatives(model, made, recipe(config), by_terms=None, folder=tmp_path).at(1)
    part = made.pairs[0]
    device = torch.device("cpu")
    queries = mining.encode_token_ids(
        model, [[1, *part.queries.row(i, limit=48)] for i in range(36)], device=device
    )
    passages = mining.encode_token_ids(
        model, [[2, *part.passages.row(i, limit=160)] for i in range(36)], device=device
    )
    scores = queries @ passages.T
    for row in pair_rows(made, config, seed=13, step=1).rows:
        limit = scores[row, row] if scores[row, row] > 0 else np.inf
        allowed = [j for j in range(36) if j // 2 != row // 2 and scores[row, j] <= limit]
        best = max(allowed, key=lambda j: scores[row, j]) if allowed else -1
        assert mined[part.name][row, 0] == best


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, part in one.items():
        assert (part == other[name]).all()
