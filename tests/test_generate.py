"""Generated queries: drawn from Z alone, kept by a round trip, the same after a resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lbr_search.encoder.batching import collate
from lbr_search.encoder.lbr import encode_token_ids
from lbr_search.errors import ConfigError
from lbr_search.train import generate
from lbr_search.train.data import TrainingData
from lbr_search.train.generate import generated_pairs, round_trip, sample_tokens
from lbr_search.train.stage_config import Stage2Config
from tests.hash_cli import run
from tests.test_ablate import write_toy
from tests.test_train_data import load, write_sources
from tests.tiny import tiny_model


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    write_sources(tmp_path)
    return load(tmp_path)


def test_the_likeliest_tokens_are_those_that_the_loss_expects(monkeypatch):
    """With one candidate a token, every token is the argmax given Z and the tokens before it."""
    monkeypatch.setattr(generate, "TOP_TOKENS", 1)
    model = tiny_model()
    batch = collate([[5, 6, 7], [8, 9]], n_compression_tokens=3)
    with torch.inference_mode():
        compressed, _ = model.compress(batch)
        written = sample_tokens(model, compressed, 4, seed=0)
        own, _ = model.token_nll(compressed, collate(written.tolist(), n_compression_tokens=0))
        for place in range(4):
            other = written.clone()
            for token in (1, 2, 3):
                other[:, place] = token
                nll, _ = model.token_nll(
                    compressed, collate(other.tolist(), n_compression_tokens=0)
                )
                assert (own[:, place] <= nll[:, place] + 1e-5).all()


def test_a_query_is_kept_if_its_own_passage_comes_first(monkeypatch):
    """Within each pool, and a passage that another one equals does not come first."""
    monkeypatch.setattr(generate, "POOL", 4)
    model = tiny_model()
    passages = [[5, 6], [7, 8, 9], [5, 6], [10, 11], [5, 6], [12, 13, 14]]
    queries = [list(ids) for ids in passages]
    found = round_trip(model, queries, passages)
    assert found.tolist() == [False, True, False, True, True, True]
    mixed = [queries[1], queries[3], queries[0], queries[3], queries[5], queries[5]]
    emb = [encode_token_ids(model, ids, device=torch.device("cpu")) for ids in (mixed, passages)]
    expected = []
    for row in range(6):
        pool = [i for i in range(6) if i // 4 == row // 4 and i != row]
        scores = emb[0][row] @ emb[1].T
        expected.append(bool(scores[row] > max(scores[i] for i in pool)))
    assert round_trip(model, mixed, passages).tolist() == expected


def test_generated_pairs_are_counted_kept_and_never_dev(tmp_path: Path, data: TrainingData):
    """Passages are beginnings of the texts; a second call reads what the first one wrote."""
    limits = Stage2Config(batch_size=8, passage_tokens=12)
    file = tmp_path / "generated.safetensors"
    source, counts = generated_pairs(tiny_model(), data, limits, n=40, seed=1, file=file)
    assert counts["written"] == 40 and counts["found_again"] == len(source.train)
    beginnings = {tuple(data.text[0].texts.row(i, limit=12)) for i in range(5)}
    assert {tuple(source.passages.row(int(i), limit=99)) for i in source.train} <= beginnings
    assert len(source.dev) == 0 and source.weight == 2.0  # the mean of 1 and 3
    again, _ = generated_pairs(tiny_model(), data, limits, n=40, seed=2, file=file)
    assert np.array_equal(source.queries.ids, again.queries.ids)
    with pytest.raises(ConfigError, match="no texts"):
        generated_pairs(
            tiny_model(),
            TrainingData([], data.pairs, [1], [2], 3, 400, {}),
            limits,
            n=4,
            seed=1,
            file=tmp_path / "other",
        )


def test_train_all_shows_what_it_generated(tmp_path: Path):
    """`--generate` writes queries between the stages and counts them."""
    recipe, out = write_toy(tmp_path), tmp_path / "out"
    few = [f"--set=stage{n}_loop.steps=1" for n in (1, 2)]
    command = ["train", "all", recipe, "--data", tmp_path, "--out", out, "--generate", 12, *few]
    outcome = run(*command)
    assert outcome.code == 0, outcome.err
    assert "generated written 12" in " ".join(outcome.out.split())
    assert (out / "generated.safetensors").is_file()
