import pytest

from litnets.errors import InputError, nearest

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
    assert nearest(name, METRICS) == f"; did you mean '{known}'?"


@pytest.mark.parametrize("known", [METRICS, []])
def test_nothing_is_near(known):
    assert nearest("zzzz", known) == ""


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
