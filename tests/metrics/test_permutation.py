"""p-values against enumeration, McNemar's test, hand and simulation."""

import itertools

import numpy as np
import pytest
import scipy.stats

from simclr_med.metrics import permutation


def difference_of(values):
    """Returns the sum of values [P] with the signs of swapped patients turned."""
    return lambda swaps: (np.where(swaps, -1, 1) * values).sum(axis=1)


def test_all_swaps_are_counted_where_there_are_few():
    values = np.array([0.3, -0.1, 0.7, 0.2, 0.0])
    p = permutation.p_value(difference_of(values), values != 0, permutations=100, seed=0)
    sums = [abs(np.dot(s, values)) for s in itertools.product((1, -1), repeat=5)]
    assert p == np.mean(np.array(sums) >= abs(values.sum()) - 1e-12)


def test_drawn_swaps_agree_with_all_and_are_never_zero():
    values = np.random.default_rng(0).normal(0.4, size=12)
    exact = permutation.p_value(difference_of(values), values != 0, permutations=5000, seed=0)
    drawn = permutation.p_value(difference_of(values), values != 0, permutations=4000, seed=0)
    assert drawn != exact and drawn == pytest.approx(exact, abs=0.02)
    apart = permutation.p_value(
        difference_of(np.ones(40)), np.ones(40, bool), permutations=999, seed=1
    )
    assert apart == 1 / 1000


def test_two_patients_never_give_less_than_one_half():
    values = np.ones(2)
    assert permutation.p_value(difference_of(values), values > 0, permutations=99, seed=0) == 0.5
    assert permutation.p_value_of_sum(np.array([1, 1])) == 0.5
    assert permutation.p_value(difference_of(values * 0), values < 0, permutations=99, seed=0) == 1
    assert permutation.p_value_of_sum(np.zeros(7, int)) == 1


@pytest.mark.parametrize(
    ("more", "less", "equal"), [(4, 0, 96), (3, 1, 96), (9, 2, 3), (30, 12, 0)]
)
def test_one_case_a_patient_is_mcnemars_exact_test(more, less, equal):
    values = np.repeat([1, -1, 0], [more, less, equal])
    expected = scipy.stats.binomtest(more, more + less).pvalue
    assert permutation.p_value_of_sum(values) == pytest.approx(expected)


def test_sums_of_several_cases_a_patient_equal_enumeration():
    values = np.array([3, -1, 2, 0, 1, 1])
    sums = [abs(np.dot(s, values)) for s in itertools.product((1, -1), repeat=6)]
    assert permutation.p_value_of_sum(values) == pytest.approx(
        np.mean(np.array(sums) >= abs(values.sum()))
    )


def test_an_undefined_difference_has_no_p_value():
    p = permutation.p_value(
        lambda swaps: np.full(len(swaps), np.nan), np.ones(3, bool), permutations=9, seed=0
    )
    assert np.isnan(p)


def test_holm_equals_an_example_by_hand_and_the_definition():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2 (which is not below 0.02 x 3), 0.5 x 1
    corrected = permutation.holm(np.array([0.5, 0.01, 0.03, 0.02]))
    np.testing.assert_allclose(corrected, [0.5, 0.04, 0.06, 0.06])
    rng = np.random.default_rng(0)
    for m in (1, 2, 6, 9):
        p = rng.uniform(size=m) ** 2
        order = sorted(range(m), key=lambda i, p=p: p[i])
        for rank, i in enumerate(order):
            slow = max(min(1, (m - j) * p[order[j]]) for j in range(rank + 1))
            assert permutation.holm(p)[i] == pytest.approx(slow)


def test_holm_leaves_undefined_p_values_out_of_the_count():
    np.testing.assert_allclose(
        permutation.holm(np.array([np.nan, 0.01, 0.04])), [np.nan, 0.02, 0.04]
    )
    assert permutation.holm(np.array([])).shape == (0,)
