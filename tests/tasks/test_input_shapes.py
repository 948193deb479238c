import re

import pytest

from litnets import tasks
from litnets.errors import InputError
from litnets.tasks.input_shapes import check_rows, flat_size, image_channels, step_size


@pytest.mark.parametrize(("shape", "size"), [((64,), 64), ((20, 7), 140), ((3, 8, 9), 216), ((2, 3, 4, 5), 120)])
def test_size_of_a_whole_input(shape, size):
    assert flat_size(shape, "MLPClassifier") == size


@pytest.mark.parametrize("shape", [(3, 8, 9), (3, None, None)])
def test_channels_of_an_image(shape):
    assert image_channels(shape, "CNNClassifier") == 3


@pytest.mark.parametrize(
    ("shape", "size"), [((20, 7), 7), ((None, 7), 7), ((3, 8, 9), 27), ((1, 28, 28), 28), ((3, None, 9), 27)]
)
def test_size_of_a_step(shape, size):
    assert step_size(shape, "RNNClassifier") == size


@pytest.mark.parametrize(
    ("read", "shape", "data"),
    [
        (image_channels, (64,), "a row of a table (64): an MLP fits"),
        (image_channels, (20, 7), "a sequence (20, 7): an RNN, a CNN1d or a Transformer fits"),
        (flat_size, (None, 7), "a sequence (any, 7): an RNN, a CNN1d or a Transformer fits"),
        (flat_size, (None,), "a text (any): an RNN, a CNN1d or a Transformer fits"),
        (step_size, (64,), "a row of a table (64): an MLP fits"),
        (step_size, (None,), "a text (any): an RNN, a CNN1d or a Transformer fits"),
        (step_size, (3, None, None), "an image (3, any, any): a CNN fits"),
    ],
)
def test_what_cannot_be_read_is_named(read, shape, data):
    with pytest.raises(InputError) as error:
        read(shape, "SomeClassifier")
    assert str(error.value).startswith("SomeClassifier reads ")
    assert str(error.value).endswith(f"; one input of these data is {data}")


def test_rows_that_divide_the_height():
    check_rows(4, (1, 28, 28), "RNNClassifier")
    check_rows(1, (None,), "RNNClassifier")


@pytest.mark.parametrize(
    ("rows", "shape", "message"),
    [
        (0, (1, 28, 28), "rows_per_step: expected at least 1, got 0"),
        (5, (1, 28, 28), "rows_per_step: expected a divisor of the images' height, which is 28, got 5"),
        (2, (3, None, 9), "rows_per_step: expected a divisor of the images' height, which is not known, got 2"),
        (2, (20, 7), "SomeClassifier with rows_per_step 2 reads images; one input of these data is a sequence"),
    ],
)
def test_rows_that_cannot_be_read(rows, shape, message):
    with pytest.raises(InputError) as error:
        check_rows(rows, shape, "SomeClassifier")
    assert str(error.value).startswith(message)


NAMED = [name for name in vars(tasks) if name.endswith(("Classifier", "Forecaster"))]


@pytest.mark.parametrize("task", sorted({*NAMED} - {"Classifier", "Forecaster"}))
def test_only_networks_that_there_are_are_recommended(task):
    """Data whose targets are numbers for a classifier, and images for a forecaster."""
    cls = getattr(tasks, task)
    data = {"num_classes": None} if task.endswith("Classifier") else {"horizon": None}
    with pytest.raises(InputError) as error:
        cls(input_shape=(1, 8, 8), **data)
    named = set(re.findall(r"\w+(?:Classifier|Regressor|Forecaster)", str(error.value))) - {task}
    assert named
    assert all(hasattr(tasks, name) for name in named)
