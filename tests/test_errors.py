import pytest

from litnets.errors import InputError, abbreviate, alternatives, did_you_mean, first_duplicate

METRICS = ["auc", "accuracy", "val/loss", "OneCycleLR"]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("acc", "accuracy"),  # a prefix match wins, although auc has a smaller edit distance
        ("acuracy", "accuracy"),
        ("ACCURACY", "accuracy"),
        ("val_loss", "val/loss"),
        ("onecycle", "OneCycleLR"),  # in the original case
    ],
)
def test_did_you_mean(name, suggestion):
    assert did_you_mean(name, METRICS) == f"; did you mean '{suggestion}'?"


@pytest.mark.parametrize("candidates", [METRICS, []])
def test_did_you_mean_without_a_close_match(candidates):
    assert did_you_mean("zzzz", candidates) == ""


@pytest.mark.parametrize(("names", "text"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_alternatives(names, text):
    assert alternatives(names) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b and 1 more")],
)
def test_abbreviate(names, text):
    assert abbreviate(names, limit=2) == text


@pytest.mark.parametrize(("names", "duplicate"), [([], None), (["a", "b"], None), (["a", "b", "c", "b", "a"], "b")])
def test_first_duplicate(names, duplicate):
    assert first_duplicate(names) == duplicate


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
