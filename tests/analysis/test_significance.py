"""Significance of differences, against scipy, tables and worked examples."""

import numpy as np
import pytest
from scipy import stats

from litnets.analysis.significance import bootstrap_mean, compare_seeds, diebold_mariano, mcnemar, seeds_needed
from litnets.errors import InputError


def answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


def test_mcnemar_equals_a_worked_example() -> None:
    # Two-sided: 2 * (C(10, 0) + C(10, 1) + C(10, 2)) / 2**10.
    assert mcnemar(*answers(80, 8, 2, 10)) == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_mcnemar_ignores_samples_on_which_both_agree() -> None:
    assert mcnemar(*answers(5, 8, 2, 0)) == mcnemar(*answers(5000, 8, 2, 700))


def test_mcnemar_without_a_disagreement_is_one() -> None:
    assert mcnemar(*answers(90, 0, 0, 10)) == 1


def test_bootstrap_interval_equals_scipy() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 400)
    expected = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    assert bootstrap_mean(values, resamples=5000) == pytest.approx(tuple(expected), abs=0.01)


def test_forecasts_of_one_step_are_compared_by_a_t_test() -> None:
    differences = np.random.default_rng(0).normal(0.1, 1, 200)
    p_value, interval = diebold_mariano(differences, horizon=1)
    expected = stats.ttest_1samp(differences, 0)
    assert p_value == pytest.approx(expected.pvalue)
    assert interval == pytest.approx(tuple(expected.confidence_interval()))


def test_windows_that_share_steps_are_not_independent() -> None:
    steps = np.random.default_rng(0).normal(size=4019)
    windows = np.convolve(steps, np.ones(20) / 20, "valid")  # neighbors share 19 of 20 steps
    low, high = diebold_mariano(windows, horizon=20)[1]
    # The standard error of the mean is about that of 4,019 independent steps.
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(4019), rel=0.25)


def test_equal_forecasts_do_not_differ() -> None:
    assert diebold_mariano(np.zeros(10), horizon=3) == (1.0, (0.0, 0.0))


def test_a_difference_that_never_varies_is_no_noise() -> None:
    assert diebold_mariano(np.full(10, 0.5), horizon=3) == (0.0, (0.5, 0.5))
    assert diebold_mariano(np.full(1, 0.5), horizon=1)[0] == 1  # one window tells nothing


def test_too_few_windows_tell_nothing() -> None:
    assert diebold_mariano(np.array([1.0, 2.0]), horizon=5) == (1.0, (-np.inf, np.inf))


def test_seeds_are_compared_by_welchs_test() -> None:
    a, b = [0.90, 0.91, 0.92], [0.93, 0.935, 0.94, 0.95]
    result = compare_seeds(a, b)
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert result.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert result.difference == pytest.approx(np.mean(b) - np.mean(a))
    assert result.is_significant


@pytest.mark.parametrize(("effect", "expected"), [(0.5, 64), (0.8, 26), (1.0, 17)])  # Cohen (1988), table 2.4.1
def test_seeds_needed_equal_cohens_table(effect: float, expected: int) -> None:
    assert seeds_needed(effect) == seeds_needed(-effect) == expected


def test_a_tiny_difference_needs_too_many_seeds() -> None:
    assert seeds_needed(0.01) is None
    result = compare_seeds([0.90, 0.95], [0.91, 0.94])
    assert not result.is_significant
    assert result.seeds_needed is None


def test_recipes_whose_seeds_all_agree() -> None:
    assert not compare_seeds([0.9, 0.9], [0.9, 0.9]).is_significant
    assert compare_seeds([0.9, 0.9], [1.0, 1.0]).is_significant


def test_one_seed_says_nothing_about_a_recipe() -> None:
    with pytest.raises(InputError, match="at least two seeds of each"):
        compare_seeds([0.9], [0.8, 0.85])
