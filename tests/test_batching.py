"""Batches: nothing lost, sorted by length, padding where it belongs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbr_search.encoder.batching import collate, length_sorted_batches
from lbr_search.errors import ShapeError


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], batch_tokens: int):
    """Each position comes once; a batch of several texts stays within the budget."""
    batches = list(length_sorted_batches(lengths, batch_tokens=batch_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        width = max(lengths[i] for i in batch)
        assert len(batch) == 1 or width * len(batch) <= batch_tokens


def test_right_padding_puts_compression_behind_the_text():
    """Rows are text, k places, padding; no mask is needed."""
    batch = collate([[5, 6, 7], [8]], n_compression_tokens=2)
    assert batch.input_ids.tolist() == [[5, 6, 7, 0, 0], [8, 0, 0, 0, 0]]
    assert batch.text_mask.tolist() == [[True] * 3 + [False] * 2, [True] + [False] * 4]
    assert batch.compression_positions.tolist() == [[3, 4], [1, 2]]
    assert batch.attention_mask is None


def test_left_padding_counts_positions_from_the_text():
    """Padding before the text is masked and does not move positions."""
    batch = collate([[5, 6, 7], [8]], n_compression_tokens=2, padding_side="left")
    assert batch.input_ids.tolist() == [[5, 6, 7, 0, 0], [0, 0, 8, 0, 0]]
    assert batch.attention_mask.tolist() == [[1] * 5, [0, 0, 1, 1, 1]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]
    assert batch.compression_positions.tolist() == [[3, 4], [3, 4]]


@pytest.mark.parametrize("texts", [[], [[1], []]])
def test_a_text_without_tokens_is_refused(texts: list[list[int]]):
    """An empty row would have a vector that depends on its neighbours' padding."""
    with pytest.raises(ShapeError, match="without tokens"):
        collate(texts, n_compression_tokens=2)
