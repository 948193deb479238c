import pytest

from litnets.errors import InputError, did_you_mean, first_duplicate

METRICS = ["auc", "accuracy", "val/loss", "OneCycleLR"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("acc", "accuracy"),  # what it begins, though auc is nearer by letters
        ("acuracy", "accuracy"),
        ("ACCURACY", "accuracy"),
        ("val_loss", "val/loss"),
        ("onecycle", "OneCycleLR"),  # as it is written
    ],
)
def test_the_nearest_name(name, known):
    assert did_you_mean(name, METRICS) == f"; did you mean '{known}'?"


@pytest.mark.parametrize("known", [METRICS, []])
def test_nothing_is_near(known):
    assert did_you_mean("zzzz", known) == ""


@pytest.mark.parametrize(("names", "found"), [([], None), (["a", "b"], None), (["a", "b", "c", "b", "a"], "b")])
def test_the_name_that_is_there_twice(names, found):
    assert first_duplicate(names) == found


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
