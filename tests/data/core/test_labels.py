import pytest

from litnets.data.core.labels import equal_numbers, match_labels


@pytest.mark.parametrize(
    ("label", "known", "index"),
    [
        ("1", ["01", "1"], 1),
        ("1.0", ["0", "1"], 1),
        ("1", ["0.0", "1.0"], 1),
        ("01", ["1", "2"], 0),
        ("1E2", ["10", "100"], 1),
        ("+5", ["5"], 0),
        (".5", ["0.50"], 0),
        ("9007199254740993", ["9007199254740992", "9007199254740993.0"], 1),
        ("True", ["false", "true"], 1),
        ("FALSE", ["False", "True"], 0),
        ("caf\u00e9", ["cafe\u0301"], 0),
    ],
)
def test_a_label_that_only_looks_different_is_recognized(label: str, known: list[str], index: int) -> None:
    assert match_labels([label], known) == {label: index}


@pytest.mark.parametrize(
    ("label", "known"),
    [
        ("9007199254740993", ["9007199254740992"]),
        ("yes", ["Yes"]),
        ("1", ["true"]),
        ("1.0", ["01", "1"]),  # it might be either
        ("1_000", ["1000"]),
        ("0x1F", ["31"]),
        ("1e99999", ["1e999999"]),
        ("", ["0"]),
        ("\u0661", ["1"]),  # an Arabic digit
    ],
)
def test_another_label_is_not(label: str, known: list[str]) -> None:
    assert match_labels([label], known) == {}


def test_several_labels() -> None:
    assert match_labels(["b", "2.0", "x", "b"], ["1", "2", "b"]) == {"b": 2, "2.0": 1}


def test_a_dataset_with_two_notations_keeps_them_apart() -> None:
    assert match_labels(["01", "1", "2.0"], ["1", "2"], one_dataset=True) == {"1": 0, "2.0": 1}
    assert match_labels(["01", "1", "2.0"], ["1", "2"]) == {"01": 0, "1": 0, "2.0": 1}


def test_labels_that_are_the_same_number_are_found() -> None:
    assert equal_numbers(["02", "1", "01"]) == ("1", "01")
    assert equal_numbers(["1E2", "10E1", "1E3"]) == ("1E2", "10E1")
    assert equal_numbers(["1", "2", "true", "True"]) is None
