"""The dense weight of an index follows the length of its texts, unless a weight is given."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lbr_search.config import SearchConfig
from lbr_search.ingest import build_index
from lbr_search.search.searcher import Searcher
from lbr_search.search.settings import LONG_WEIGHT, SHORT_WEIGHT, weight_by_length
from tests.conftest import HashEncoder


@pytest.mark.parametrize(("n_words", "expected"), [(4, SHORT_WEIGHT), (400, LONG_WEIGHT)])
def test_long_texts_give_words_more_weight(tmp_path: Path, n_words: int, expected: float):
    """Taken from the index itself; what is given by name or as a whole stays."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(" ".join([f"extraordinarily{number}"] * n_words))
    build_index([str(folder)], tmp_path / "index", encoder=HashEncoder())
    opened = {
        "default": Searcher.open(tmp_path / "index", encoder=HashEncoder()),
        "whole": Searcher.open(tmp_path / "index", encoder=HashEncoder(), config=SearchConfig()),
        "given": Searcher.open(
            tmp_path / "index", encoder=HashEncoder(), config={"dense_weight": 0.5}
        ),
    }
    weights = {
        name: next(iter(searcher._sources.values())).settings.config.dense_weight
        for name, searcher in opened.items()
    }
    assert weights == {"default": expected, "whole": expected, "given": 0.5}


def test_between_the_two_the_weight_falls_steadily():
    """No jump, so that one more document does not turn a ranking over."""
    weights = [weight_by_length(chars) for chars in range(100, 2_000, 10)]
    steps = [b - a for a, b in itertools.pairwise(weights)]
    assert max(steps) <= 0 < -min(steps) < 0.02
