"""Fusion: values by hand, order independence, and the table of fusions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbr_search import config
from lbr_search.config import SearchConfig
from lbr_search.errors import ShapeError
from lbr_search.search.fusion import (
    FUSIONS,
    by_distribution,
    convex,
    min_max,
    ranks,
    rrf,
    z_scores,
)

SCORES = st.dictionaries(
    st.sampled_from("abcdefgh"), st.integers(-20, 20).map(lambda n: n / 4), max_size=8
)
LEGS = st.lists(SCORES, min_size=1, max_size=3)


def test_rrf_equals_the_formula_worked_out_by_hand():
    dense = {"a": 0.9, "b": 0.8, "c": 0.1}
    lexical = {"c": 12.0, "b": 3.0, "d": 1.0}
    assert rrf([dense, lexical], rrf_k=60) == pytest.approx(
        {"a": 1 / 61, "b": 1 / 62 + 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 63}
    )


def test_convex_equals_the_formula_worked_out_by_hand():
    dense = {"a": 0.9, "b": 0.5, "c": 0.1}
    lexical = {"b": 12.0, "d": 2.0}
    assert convex([dense, lexical], weights=[0.7, 0.3]) == pytest.approx(
        {"a": 0.7, "b": 0.7 * 0.5 + 0.3, "c": 0.0, "d": 0.0}
    )


def test_z_scores_and_distribution_by_hand():
    """Mean 4 and standard deviation 2 (of the population); an outlier of 31 scores is cut at 1."""
    leg = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 3.0, "e": 4.0, "f": 4.0, "g": 6.0, "h": 8.0}
    assert z_scores(leg)["h"] == pytest.approx((8.0 - 1.0) / 2.0)
    assert z_scores(leg)["a"] == 0.0
    assert by_distribution(leg)["h"] == pytest.approx(0.5 + (8.0 - 4.0) / 12.0)
    far = {f"d{n:02}": 0.0 for n in range(30)} | {"far": 1.0}
    assert by_distribution(far)["far"] == 1.0
    assert by_distribution({}) == z_scores({}) == {}


def test_fusions_by_name_weigh_the_dense_leg_first():
    """`dense_weight` 0.75 of the first leg's normalised score, 0.25 of the second's."""
    dense, lexical = {"a": 3.0, "b": 1.0, "c": 2.0}, {"b": 9.0, "c": 8.0, "e": 1.0}
    config = SearchConfig(dense_weight=0.75)
    for name, normalise in (("convex", min_max), ("zscore", z_scores), ("dbsf", by_distribution)):
        first, second = normalise(dense), normalise(lexical)
        fused = FUSIONS[name]([dense, lexical], config)
        assert fused["a"] == pytest.approx(0.75 * first["a"])
        assert fused["b"] == pytest.approx(0.75 * first["b"] + 0.25 * second["b"])


def test_a_leg_of_equal_scores_still_lifts_what_it_found():
    fused = convex([{"a": 2.0, "b": 1.0}, {"b": 3.0, "c": 3.0}], weights=[0.5, 0.5])
    assert fused == {"a": 0.5, "b": 0.5, "c": 0.5}


def test_an_empty_leg_changes_no_order():
    leg = {"a": 0.3, "b": 0.2, "c": 0.25}
    for name, fuse in FUSIONS.items():
        fused = fuse([leg, {}], SearchConfig(fusion=name))
        assert ranks(fused) == ranks(leg), name


def test_ties_are_broken_by_id_descending():
    assert ranks({"a": 1.0, "c": 1.0, "b": 1.0}) == {"c": 1, "b": 2, "a": 3}


def test_one_weight_a_leg_is_demanded():
    with pytest.raises(ShapeError, match="2 legs but 1 weights"):
        convex([{"a": 1.0}, {"b": 1.0}], weights=[1.0])


def test_the_names_of_the_settings_are_those_of_the_functions():
    assert tuple(FUSIONS) == config.FUSIONS


@given(LEGS)
def test_fusion_ignores_the_order_of_legs_and_of_entries(legs):
    weights = [0.5, 0.3, 0.2][: len(legs)]
    for order in itertools.permutations(range(len(legs))):
        turned = [dict(reversed(legs[n].items())) for n in order]
        assert rrf(turned, rrf_k=60) == rrf(legs, rrf_k=60)
        assert convex(turned, weights=[weights[n] for n in order]) == convex(legs, weights=weights)


@given(LEGS)
def test_every_document_of_any_leg_is_scored_within_bounds(legs):
    documents = set().union(*legs)
    by_rank = rrf(legs, rrf_k=1)
    by_score = convex(legs, weights=[1.0] * len(legs))
    assert set(by_rank) == set(by_score) == documents
    assert all(0 < score <= len(legs) / 2 for score in by_rank.values())
    assert all(0 <= score <= len(legs) for score in by_score.values())


@pytest.mark.parametrize("normalise", [min_max, z_scores, by_distribution])
@given(leg=SCORES, scale=st.floats(0.1, 10), offset=st.floats(-5, 5))
def test_normalised_scores_ignore_scale_and_offset(normalise, leg, scale, offset):
    moved = {doc_id: scale * score + offset for doc_id, score in leg.items()}
    assert normalise(moved) == pytest.approx(normalise(leg), abs=1e-6)
    assert all(score >= 0 for score in normalise(leg).values())
