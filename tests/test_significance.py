"""Tests of differences, against full enumeration, known cases and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lbr_search.bench.significance import (
    EXACT_LIMIT,
    bootstrap_interval,
    compare,
    randomisation_test,
    smallest_difference,
)
from lbr_search.errors import ShapeError


def enumerated_p(differences: np.ndarray) -> float:
    """All sign patterns, one by one."""
    observed = abs(differences.sum())
    patterns = list(itertools.product((-1, 1), repeat=len(differences)))
    return np.mean(
        [abs(np.dot(signs, np.abs(differences))) >= observed - 1e-12 for signs in patterns]
    )


def test_few_differences_are_tested_exactly() -> None:
    """Up to the limit the p-value is that of all sign patterns; zeros change nothing."""
    for size in (1, 3, 8, 10):
        differences = np.random.default_rng(size).normal(0.1, 0.3, size)
        expected = enumerated_p(differences)
        assert randomisation_test(differences) == pytest.approx(expected)
        assert randomisation_test(np.append(differences, np.zeros(50))) == pytest.approx(expected)


def test_many_differences_agree_with_the_paired_t_test() -> None:
    """For normal differences both tests say about the same; sampling error is under .01."""
    differences = np.random.default_rng(3).normal(0.02, 0.2, 300)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert 0.01 < expected < 0.5
    assert randomisation_test(differences) == pytest.approx(expected, abs=0.01)


def test_sampling_agrees_with_enumeration_beyond_the_limit() -> None:
    """One difference more than the limit: sampled and exact p lie within sampling error."""
    differences = np.random.default_rng(5).normal(0.08, 0.3, EXACT_LIMIT + 1)
    sampled = randomisation_test(differences, resamples=40_000)
    assert sampled == pytest.approx(enumerated_p(differences), abs=0.008)


def test_no_difference_is_never_shown_and_a_sure_one_is() -> None:
    """Equal systems have p = 1; a gain on each of 100 queries has the least p, never 0."""
    values = {f"q{n}": 0.5 for n in range(100)}
    same = compare(values, values)
    assert (same.p_value, same.difference, same.ties, same.is_shown) == (1.0, 0.0, 100, False)
    assert same.interval == (0.0, 0.0)
    better = compare({name: 0.6 for name in values}, values, resamples=10_000)
    assert better.p_value == pytest.approx(1 / 10_001)
    assert better.is_shown and better.wins == 100
    assert better.difference == pytest.approx(0.1)


def test_sides_and_signs() -> None:
    """Swapping the systems turns difference, interval and wins, and leaves p."""
    generator = np.random.default_rng(9)
    system = {f"q{n}": value for n, value in enumerate(generator.random(60))}
    baseline = {f"q{n}": value for n, value in enumerate(generator.random(60))}
    one, other = compare(system, baseline), compare(baseline, system)
    assert one.difference == pytest.approx(-other.difference)
    assert one.p_value == pytest.approx(other.p_value)
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.interval[0] <= one.difference <= one.interval[1]
    # the bootstrap draws the same queries for both, so the interval is mirrored
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_seed_and_order() -> None:
    """The same seed gives the same numbers whatever the order; another seed moves them."""
    differences = np.random.default_rng(1).normal(0.03, 0.2, 80)
    system = {f"q{n}": value for n, value in enumerate(differences)}
    zeros = dict.fromkeys(system, 0.0)
    turned = dict(reversed(list(system.items())))
    assert compare(system, zeros) == compare(turned, zeros)
    assert compare(system, zeros, seed=1).p_value != compare(system, zeros).p_value


def test_bootstrap_interval_is_near_the_normal_one() -> None:
    """For many normal differences the interval is mean +- 1.96 standard errors."""
    differences = np.random.default_rng(2).normal(0.05, 0.2, 500)
    error = differences.std(ddof=1) / math.sqrt(500)
    low, high = bootstrap_interval(differences)
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.1 * error)


def test_smallest_difference_is_shown_four_times_in_five() -> None:
    """A true difference of that size is found at p < .05 in 80 % of simulated benchmarks."""
    generator = np.random.default_rng(4)
    size = smallest_difference(generator.normal(0, 0.22, 200_000)) * math.sqrt(200_000 / 148)
    assert size == pytest.approx(0.051, abs=0.001), "5.1 points at 148 queries"
    samples = generator.normal(size, 0.22, (2_000, 148))
    shown = (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
    assert shown == pytest.approx(0.80, abs=0.03)
    assert smallest_difference(np.array([0.3])) == math.inf


def test_other_queries_are_refused() -> None:
    """Pairs need the same queries on both sides, and at least one."""
    with pytest.raises(ShapeError, match="2 and 1 queries, 1 of them in common"):
        compare({"a": 1.0, "b": 1.0}, {"a": 1.0})
    with pytest.raises(ShapeError):
        compare({}, {})
