import pytest

from litnets.tuning.halving import next_promotion, rungs


@pytest.mark.parametrize(
    ("epochs", "first", "expected"),
    [(1, None, [1]), (2, None, [1, 2]), (5, None, [1, 2, 5]), (40, None, [5, 14, 40]), (40, 1, [1, 2, 5, 14, 40])],
)
def test_rungs(epochs: int, first: int | None, expected: list[int]) -> None:
    assert rungs(epochs, first) == expected


def test_a_first_rung_between_the_others_is_kept() -> None:
    assert rungs(40, 4) == [4, 5, 14, 40]
    assert rungs(40, 20) == [20, 40]


def promote(scores: dict[int, list[float]], **options: object) -> int | None:
    arguments = {"num_rungs": 3, "can_train": list(scores), "all_started": False} | options
    return next_promotion(scores, **arguments)  # type: ignore[arg-type]


def test_the_best_third_is_promoted_and_the_longest_trained_first() -> None:
    assert promote({0: [0.5], 1: [0.6]}) is None
    assert promote({0: [0.5], 1: [0.6], 2: [0.4]}) == 1
    assert promote({0: [0.5], 1: [0.6, 0.7], 2: [0.4]}) is None
    six = {0: [0.5], 1: [0.6, 0.7], 2: [0.4], 3: [0.7, 0.8], 4: [0.1], 5: [0.8]}
    assert promote(six) == 5, "it is now among the best two"
    assert promote(six | {5: [0.8, 0.9]}) == 5, "and among three at the second rung"
    assert promote(six, can_train=[0, 1, 2, 3, 4]) is None


def test_ties_go_to_the_first_trial() -> None:
    assert promote({2: [0.5], 0: [0.5], 1: [0.5]}) == 0


def test_a_small_search_promotes_one_trial_when_all_have_started() -> None:
    two = {0: [0.5], 1: [0.6]}
    assert promote(two, all_started=True) == 1
    assert promote(two | {1: [0.6, 0.7]}, all_started=True) == 1
    assert promote(two | {1: [0.6, 0.7, 0.7]}, all_started=True) is None
