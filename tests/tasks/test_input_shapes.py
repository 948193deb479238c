import pytest

from litnets import tasks
from litnets.errors import InputError
from litnets.tasks import CNNClassifier, MLPRegressor, RNNClassifier, TransformerRegressor
from litnets.tasks.input_shapes import check_rows, flat_size, image_channels, step_size
from litnets.tasks.registry import NAMED_TASKS


@pytest.mark.parametrize(("shape", "size"), [((64,), 64), ((20, 7), 140), ((3, 8, 9), 216), ((2, 3, 4, 5), 120)])
def test_the_flat_size_is_the_product_of_the_shape(shape, size):
    assert flat_size(shape, MLPRegressor) == size


@pytest.mark.parametrize("shape", [(3, 8, 9), (3, None, None)])
def test_the_first_dimension_of_an_image_is_its_channels(shape):
    assert image_channels(shape, CNNClassifier) == 3


@pytest.mark.parametrize(
    ("shape", "size"), [((20, 7), 7), ((None, 7), 7), ((3, 8, 9), 27), ((1, 28, 28), 28), ((3, None, 9), 27)]
)
def test_a_step_is_a_time_step_or_a_row_of_an_image(shape, size):
    assert step_size(shape, RNNClassifier) == size


SEQUENCE_CLASSIFIERS = "RNNClassifier, CNN1dClassifier or TransformerClassifier"
SEQUENCE_REGRESSORS = "RNNRegressor, CNN1dRegressor or TransformerRegressor"


@pytest.mark.parametrize(
    ("read", "task", "shape", "ending"),
    [
        (image_channels, CNNClassifier, (64,), "a table row (64): use MLPClassifier"),
        (image_channels, CNNClassifier, (20, 7), f"a sequence (20, 7): use MLPClassifier, {SEQUENCE_CLASSIFIERS}"),
        (flat_size, MLPRegressor, (None, 7), f"a sequence (any, 7): use {SEQUENCE_REGRESSORS}"),
        (flat_size, MLPRegressor, (None,), f"a text (any): use {SEQUENCE_REGRESSORS}"),
        (step_size, RNNClassifier, (64,), "a table row (64): use MLPClassifier"),
        (step_size, RNNClassifier, (None,), f"a text (any): use {SEQUENCE_CLASSIFIERS}"),
        (
            step_size,
            TransformerRegressor,
            (3, None, None),
            "an image (3, any, any): use CNNRegressor, ResNetRegressor, TorchvisionRegressor or TimmRegressor",
        ),
    ],
)
def test_an_error_names_the_tasks_that_read_the_input(read, task, shape, ending, monkeypatch):
    public = [cls for cls in NAMED_TASKS if getattr(tasks, cls.__name__, None) is cls]
    monkeypatch.setattr("litnets.tasks.input_shapes.NAMED_TASKS", public)  # without subclasses in other tests
    with pytest.raises(InputError) as error:
        read(shape, task)
    assert str(error.value).startswith(f"{task.__name__} reads ")
    assert str(error.value).endswith(f", but one input of the data is {ending}")


def test_rows_per_step_that_divide_the_height_are_accepted():
    check_rows(4, (1, 28, 28), RNNClassifier)
    check_rows(1, (None,), RNNClassifier)


@pytest.mark.parametrize(
    ("rows", "shape", "message"),
    [
        (0, (1, 28, 28), "rows_per_step: expected at least 1, got 0"),
        (5, (1, 28, 28), "rows_per_step: expected a divisor of the image height, which is 28, got 5"),
        (2, (3, None, 9), "rows_per_step: expected a divisor of the image height, which is unknown, got 2"),
        (2, (20, 7), "RNNClassifier reads images with rows_per_step 2, but one input of the data is a sequence"),
    ],
)
def test_rows_per_step_that_do_not_fit_are_refused(rows, shape, message):
    with pytest.raises(InputError) as error:
        check_rows(rows, shape, RNNClassifier)
    assert str(error.value).startswith(message)


SHAPES = {
    "row": (64,),
    "tokens": (None,),
    "sequence": (20, 7),
    "padded sequence": (None, 7),
    "image": (3, 8, 9),
    "image of any size": (3, None, None),
}
LINKED = {
    "classes": {"num_classes": 3},
    "numbers": {"num_targets": 3},
    "masks": {"num_classes": 3, "ignore_index": 255},
    "the next steps of a series": {"horizon": 4, "channel_names": list("abcdefg")},
}


@pytest.mark.parametrize("name", [name for name in tasks.__all__ if getattr(tasks, name).network()])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_task_is_suggested_for_what_it_can_read(name, kind):
    task = getattr(tasks, name)
    vocabulary = {"vocab_size": 11} if kind == "tokens" and issubclass(task, tasks.named_tasks.WithEmbedding) else {}
    arguments = {"input_shape": SHAPES[kind], **LINKED[task.predicts], **vocabulary}
    if task.can_read(kind):
        task(**arguments)
    else:
        with pytest.raises(InputError, match=f"^{name} (reads|predicts)"):
            task(**arguments)


@pytest.mark.parametrize(
    ("task", "data", "shape", "suggestions"),
    [
        ("MLPClassifier", "num_classes", (3,), "use MLPRegressor for numbers"),
        ("MLPClassifier", "num_classes", (20, 7), "use MLPRegressor for numbers or MLPForecaster for the next steps"),
        ("RNNRegressor", "num_targets", (20, 7), "use RNNClassifier for classes or RNNForecaster for the next steps"),
        ("RNNRegressor", "num_targets", (None,), "use RNNClassifier for classes"),
        ("LinearForecaster", "horizon", (None, 7), "use RNNClassifier for classes or RNNRegressor for numbers"),
        ("CNNForecaster", "horizon", (None, 7), "use CNN1dClassifier for classes or CNN1dRegressor for numbers"),
        ("ResNetClassifier", "num_classes", (3, 8, 8), "use ResNetRegressor for numbers"),
    ],
)
def test_wrong_targets_suggest_the_same_network_if_it_fits(task, data, shape, suggestions):
    with pytest.raises(InputError, match=f"^{task} predicts .* but the targets of the data .*: {suggestions}"):
        getattr(tasks, task)(input_shape=shape, **{data: None})
