"""Tests of differences: against scipy, full enumeration, and simulated benchmarks."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy import stats

from lbr_search.bench.power import smallest_difference, t_quantile
from lbr_search.bench.resampling import EXACT_LIMIT, bootstrap_intervals, randomisation_tests
from lbr_search.bench.significance import ALPHA, compare, compare_all, holm
from lbr_search.errors import ShapeError


def p_of(differences: np.ndarray, **options: int) -> float:
    return float(randomisation_tests(differences[:, None], **options)[0])


def interval_of(differences: np.ndarray, **options: int) -> tuple[float, float]:
    low, high = bootstrap_intervals(differences[:, None], share=0.95, **options)[0]
    return low, high


def enumerated_p(differences: np.ndarray) -> float:
    """All sign patterns, one by one."""
    observed = abs(differences.sum())
    patterns = list(itertools.product((-1, 1), repeat=len(differences)))
    return np.mean(
        [abs(np.dot(signs, np.abs(differences))) >= observed - 1e-12 for signs in patterns]
    )


def ndcg_like(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values as of nDCG@10 with one relevant document: a rank in 1 to 10, or nothing."""
    ranks = generator.integers(1, 16, size=shape)
    return np.where(ranks > 10, 0.0, 1 / np.log2(1 + ranks))


def test_few_differences_are_tested_exactly() -> None:
    """Up to the limit the p-value is that of all sign patterns; zeros change nothing."""
    for size in (1, 3, 8, 10):
        differences = np.random.default_rng(size).normal(0.1, 0.3, size)
        expected = enumerated_p(differences)
        assert p_of(differences) == pytest.approx(expected)
        assert p_of(np.append(differences, np.zeros(50))) == pytest.approx(expected)


def test_p_values_agree_with_scipy_on_the_same_data() -> None:
    """Sampled p of many queries, exact p of few: both as scipy's paired permutation test says."""
    for size, seed in ((12, 1), (200, 2), (200, 3)):
        generator = np.random.default_rng(seed)
        system, baseline = ndcg_like(generator, (2, size))
        expected = stats.permutation_test(
            (system, baseline),
            lambda a, b, axis: (a - b).mean(axis=axis),
            permutation_type="samples",
            n_resamples=20_000,
            vectorized=True,
            rng=generator,
        ).pvalue
        error = 1e-9 if size <= EXACT_LIMIT else 4 * np.sqrt(expected * (1 - expected) / 20_000)
        assert p_of(system - baseline, resamples=20_000) == pytest.approx(expected, abs=2 * error)


def test_intervals_agree_with_scipy_on_the_same_data() -> None:
    """The percentile bootstrap of paired differences lies where scipy's does."""
    generator = np.random.default_rng(6)
    system, baseline = ndcg_like(generator, (2, 300))
    expected = stats.bootstrap(
        (system - baseline,), np.mean, method="percentile", n_resamples=20_000, rng=generator
    ).confidence_interval
    error = 0.06 * (system - baseline).std() / np.sqrt(300)
    assert interval_of(system - baseline, resamples=20_000) == pytest.approx(expected, abs=error)


def test_sampling_agrees_with_enumeration_beyond_the_limit() -> None:
    """One difference more than the limit: sampled and exact p lie within sampling error."""
    differences = np.random.default_rng(5).normal(0.08, 0.3, EXACT_LIMIT + 1)
    sampled = p_of(differences, resamples=40_000)
    assert sampled == pytest.approx(enumerated_p(differences), abs=0.008)


def test_arms_together_have_the_numbers_of_each_alone() -> None:
    """Stacking arms shares the samples and changes no number."""
    differences = np.random.default_rng(8).normal(0.02, 0.2, (90, 4))
    differences[:80, 1] = 0  # ten left: exact
    differences[:, 2] = 0  # nothing to test
    together = randomisation_tests(differences)
    alone = [p_of(column) for column in differences.T]
    assert together.tolist() == pytest.approx(alone)
    assert together[2] == 1.0
    intervals = bootstrap_intervals(differences, share=0.95)
    for interval, column in zip(intervals, differences.T, strict=True):
        assert tuple(interval) == pytest.approx(interval_of(column))


def test_no_difference_is_never_shown_and_a_sure_one_is() -> None:
    """Equal systems have p = 1; a gain on each of 100 queries has the least p, never 0."""
    values = {f"q{n}": 0.5 for n in range(100)}
    same = compare(values, values)
    assert (same.p_value, same.difference, same.ties, same.is_shown) == (1.0, 0.0, 100, False)
    assert same.interval == (0.0, 0.0)
    assert same.verdict == "not shown"
    better = compare({name: 0.6 for name in values}, values, resamples=10_000)
    assert better.p_value == pytest.approx(1 / 10_001)
    assert better.is_shown and better.wins == 100 and better.verdict == "better"
    assert better.difference == pytest.approx(0.1)
    assert better.effect_size is None, "all differences are equal: no deviation to divide by"


def test_sides_and_signs() -> None:
    """Swapping the systems turns difference, effect, interval and wins, and leaves p."""
    generator = np.random.default_rng(9)
    system = {f"q{n}": value for n, value in enumerate(generator.random(60))}
    baseline = {f"q{n}": value for n, value in enumerate(generator.random(60))}
    one, other = compare(system, baseline), compare(baseline, system)
    assert one.difference == pytest.approx(-other.difference)
    assert one.effect_size == pytest.approx(-other.effect_size)
    assert one.p_value == pytest.approx(other.p_value)
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.interval[0] <= one.difference <= one.interval[1]
    # the bootstrap draws the same queries for both, so the interval is mirrored
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    expected = stats.ttest_rel(list(system.values()), list(baseline.values())).statistic
    assert one.effect_size * np.sqrt(60) == pytest.approx(expected)


def test_seed_and_order() -> None:
    """The same seed gives the same numbers whatever the order; another seed moves them."""
    differences = np.random.default_rng(1).normal(0.03, 0.2, 80)
    system = {f"q{n}": value for n, value in enumerate(differences)}
    zeros = dict.fromkeys(system, 0.0)
    turned = dict(reversed(list(system.items())))
    assert compare(system, zeros) == compare(turned, zeros)
    assert compare(system, zeros, seed=1).p_value != compare(system, zeros).p_value


def test_p_is_corrected_over_all_suites_and_arms() -> None:
    """Pairs of different queries are one family: Holm over all, and less power for each."""
    generator = np.random.default_rng(12)
    suites = [[f"{suite}{n}" for n in range(size)] for suite, size in (("a", 40), ("b", 90))]
    pairs = []
    for names in suites:
        baseline = dict(zip(names, ndcg_like(generator, (len(names),)), strict=True))
        for gain in (0.0, 0.1, 0.3):
            moved = generator.normal(gain, 0.3, len(names))
            pairs.append(
                ({q: baseline[q] + m for q, m in zip(names, moved, strict=True)}, baseline)
            )
    together = compare_all(pairs)
    alone = [compare(*pair) for pair in pairs]
    assert [found.p_value for found in together] == [found.p_value for found in alone]
    assert [found.p_holm for found in together] == holm([found.p_value for found in alone])
    assert all(found.p_value == found.p_holm for found in alone)
    assert all(a.smallest_shown > b.smallest_shown for a, b in zip(together, alone, strict=True))
    assert {found.n_compared for found in together} == {6}
    assert compare_all([]) == []


def test_two_thousand_null_comparisons_are_shown_as_often_as_the_level_says() -> None:
    """Systems that differ by chance alone: 4 to 6 of 100 have p < .05, whatever the values."""
    generator = np.random.default_rng(14)
    first, second = ndcg_like(generator, (2, 60, 2_000))
    p_values = randomisation_tests(first - second, resamples=2_000)
    assert 0.04 < (p_values < ALPHA).mean() < 0.06
    # and of a skewed null: systems exchanged at random, query by query, gaps of any size
    gaps = generator.exponential(0.2, (60, 2_000)) * (generator.random((60, 2_000)) < 0.5)
    signs = generator.choice([-1.0, 1.0], size=gaps.shape)
    assert 0.04 < (randomisation_tests(gaps * signs, resamples=2_000) < ALPHA).mean() < 0.06


def test_a_family_of_null_comparisons_makes_a_false_claim_no_more_often_than_one() -> None:
    """Eight arms against one baseline, none better: at most 6 of 100 families show anything."""
    generator = np.random.default_rng(19)
    n_claims = 0
    for _ in range(500):
        baseline = ndcg_like(generator, (50, 1))
        p_values = randomisation_tests(ndcg_like(generator, (50, 8)) - baseline, resamples=1_000)
        n_claims += min(holm(p_values.tolist())) < ALPHA
    assert 0.01 < n_claims / 500 < 0.06


@pytest.mark.parametrize("n_compared", [1, 8])
def test_the_smallest_difference_is_shown_four_times_in_five(n_compared: int) -> None:
    """True differences of that size are found at the (corrected) level in 77 to 83 of 100 cases."""
    generator = np.random.default_rng(15)
    first, second = ndcg_like(generator, (2, 60, 2_000))
    noise = first - second
    size = smallest_difference(float(noise.std()), 60, n_moved=60, alpha=ALPHA / n_compared)
    p_values = randomisation_tests(noise + size, resamples=4_000)
    assert (p_values < ALPHA / n_compared).mean() == pytest.approx(0.80, abs=0.03)


def test_quantiles_of_t() -> None:
    """The expansion lies within 1 % of scipy's quantiles, and grows exact."""
    for freedom, p in itertools.product((8, 17, 60, 1000), (0.8, 0.975, 0.999)):
        assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=0.01)
    assert t_quantile(0.975, 60) == pytest.approx(stats.t.ppf(0.975, 60), rel=1e-6)


def test_a_suite_too_small_says_not_shown() -> None:
    """Five queries cannot have p < .05 even if all are won; the smallest difference is none."""
    values = {f"q{n}": 0.0 for n in range(5)}
    found = compare(dict.fromkeys(values, 1.0), values)
    assert found.p_value == pytest.approx(1 / 16) and found.wins == 5
    assert (found.verdict, found.smallest_shown) == ("not shown", None)
    assert smallest_difference(0.2, 1, n_moved=1, alpha=0.05) is None
    assert smallest_difference(0.2, 18, n_moved=18, alpha=0.05) == pytest.approx(0.140, abs=0.001)


def test_a_sure_difference_is_shown_among_any_number_of_comparisons() -> None:
    """600 comparisons: of 10,000 sign flips the least p is 1e-4, corrected .06."""
    names = [f"q{n:02}" for n in range(40)]
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    found = compare_all([(high, low)] * 600)
    assert all(each.p_holm < ALPHA for each in found)


@pytest.mark.parametrize("n_moved", [0, 1, 5])
def test_arms_that_hardly_differ_can_show_nothing(n_moved: int) -> None:
    """300 queries of which few move: no p-value can be below .05, so no difference is shown."""
    values = {f"q{n:03}": 0.5 for n in range(300)}
    moved = values | {f"q{n:03}": 1.0 for n in range(n_moved)}
    found = compare(moved, values)
    assert found.p_value >= ALPHA and found.ties == 300 - n_moved
    assert found.smallest_shown is None


def test_ten_thousand_resamples_of_a_large_suite_are_quick() -> None:
    """6,500 queries x 8 arms: test and interval in under 5 s of one core."""
    generator = np.random.default_rng(17)
    names = [f"q{n}" for n in range(6_500)]
    baseline = dict(zip(names, ndcg_like(generator, (6_500,)), strict=True))
    arms = [dict(zip(names, ndcg_like(generator, (6_500,)), strict=True)) for _ in range(8)]
    started = time.thread_time()
    compare_all([(arm, baseline) for arm in arms], resamples=10_000)
    assert time.thread_time() - started < 5


def test_other_queries_are_refused_with_the_difference() -> None:
    """Pairs need the same queries on both sides, at least one; what differs is named."""
    with pytest.raises(ShapeError, match="2 and 1 queries, 1 of them in common") as error:
        compare({"a": 1.0, "b": 1.0}, {"a": 1.0})
    assert "only system: b" in str(error.value)
    many = {f"q{n}": 1.0 for n in range(9)}
    with pytest.raises(ShapeError, match="only baseline: q0, q1, q2, q3, q4 and 4 more"):
        compare_all([({"a": 1.0}, {"a": 1.0}), ({"a": 1.0}, many)])
    with pytest.raises(ShapeError):
        compare({}, {})
