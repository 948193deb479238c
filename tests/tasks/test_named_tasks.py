"""Every named task: a network paired with a task."""

import inspect

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, TensorDataset

from litnets import tasks
from litnets.errors import InputError
from litnets.nets import (
    CNN,
    MLP,
    RNN,
    AirNet,
    CNN1d,
    Embedded,
    LeNet,
    ResNet,
    TimmNet,
    TorchvisionNet,
    TorchvisionUNet,
    Transformer,
    UNet,
)
from litnets.tasks import (
    AirNetClassifier,
    Classifier,
    CNN1dClassifier,
    CNN1dRegressor,
    CNNClassifier,
    Forecaster,
    MLPClassifier,
    MLPForecaster,
    Regressor,
    ResNetClassifier,
    RNNClassifier,
    RNNForecaster,
    RNNRegressor,
    Segmenter,
    Task,
    TransformerClassifier,
    TransformerForecaster,
    TransformerRegressor,
    named_tasks,
)

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

IMAGE = (3, 8, 9)
SERIES = (12, 2)
# A network, the sizes that it takes for IMAGE and for SERIES, and a value other than the default for its other
# arguments.
NETWORKS = {
    named_tasks.WithLinear: (MLP, {"in_features": 216}, {"in_features": 12}, {"init": "xavier"}),
    named_tasks.WithMLP: (
        MLP,
        {"in_features": 216},
        {"in_features": 12},
        {
            "hidden_layer_sizes": [7, 6],
            "activation": ["tanh", "gelu"],
            "dropout": [0.1, 0.2],
            "batch_norm": [True, False],
            "init": "he",
        },
    ),
    named_tasks.WithCNN: (
        CNN,
        {"in_channels": 3},
        {},
        {
            "widths": [4, 6],
            "blocks_per_stage": 3,
            "kernel_size": 5,
            "activation": "silu",
            "norm": "group",
            "pool": "stride",
            "dropout": 0.1,
            "residual": True,
            "init": "xavier",
        },
    ),
    named_tasks.WithUNet: (
        UNet,
        {"in_channels": 3},
        {},
        {
            "widths": [4, 6],
            "blocks_per_stage": 1,
            "kernel_size": 5,
            "activation": "silu",
            "norm": "group",
            "dropout": 0.1,
            "residual": True,
            "init": "xavier",
        },
    ),
    named_tasks.WithResNet: (ResNet, {"in_channels": 3}, {}, {"depth": 32, "init": "xavier"}),
    named_tasks.WithLeNet: (LeNet, {"in_shape": IMAGE}, {}, {"activation": "relu", "init": "xavier"}),
    named_tasks.WithTorchvision: (
        TorchvisionNet,
        {"in_channels": 3},
        {},
        {"backbone": "shufflenet_v2_x0_5", "image_size": 32},
    ),
    named_tasks.WithTorchvisionUNet: (
        TorchvisionUNet,
        {"in_channels": 3},
        {},
        {"backbone": "shufflenet_v2_x0_5", "width": 2, "dropout": 0.1},
    ),
    named_tasks.WithTimm: (TimmNet, {"in_channels": 3}, {}, {"backbone": "test_resnet", "image_size": 32}),
    named_tasks.WithAirNet: (AirNet, {"in_channels": 3}, {}, {"widths": [4, 6]}),
    named_tasks.WithRNN: (
        RNN,
        {"input_size": 27},
        {"input_size": 1},
        {
            "hidden_size": 5,
            "num_layers": 3,
            "cell": "gru",
            "bidirectional": True,
            "dropout": 0.1,
            "pooling": "attention",
            "init": "orthogonal",
            "conv_widths": [2, 3],
            "conv_channels": 4,
        },
    ),
    named_tasks.WithCNN1d: (
        CNN1d,
        {"input_size": 27},
        {"input_size": 1},
        {
            "widths": [4, 6],
            "blocks_per_stage": 3,
            "kernel_size": 3,
            "activation": "silu",
            "norm": "batch",
            "dropout": 0.1,
            "residual": True,
            "pooling": "mean",
            "init": "xavier",
        },
    ),
    named_tasks.WithTransformer: (
        Transformer,
        {"input_size": 27},
        {"input_size": 1},
        {
            "hidden_size": 6,
            "num_layers": 3,
            "num_heads": 3,
            "dropout": 0.2,
            "pooling": "first",
            "init": "xavier",
        },
    ),
}
# Defaults that differ from those of the network itself.
OTHER_DEFAULTS = {"LinearForecaster": {"hidden_layer_sizes": ()}, "CNNForecaster": {"pooling": "last"}}
LINKED = {
    Classifier: {"num_classes": 5},
    Regressor: {"num_targets": 5},
    Segmenter: {"num_classes": 5, "ignore_index": 255},
    Forecaster: {"horizon": 5, "channel_names": ["load", "temperature"]},
}
PAIRS = [cls for name in tasks.__all__ if issubclass(cls := getattr(tasks, name), tuple(NETWORKS))]


def kind_of(task):
    return next(kind for kind in LINKED if issubclass(task, kind))


def make(task, **arguments):
    """Return the task for images, or a forecaster for windows of a series."""
    kind = kind_of(task)
    shape = SERIES if kind is Forecaster else IMAGE
    return task(**{"input_shape": shape, **LINKED[kind], **arguments})


def network_of(task):
    """Return what NETWORKS says about the network of a task: class, sizes and arguments."""
    net, image_sizes, series_sizes, arguments = NETWORKS[next(cls for cls in task.mro() if cls in NETWORKS)]
    return net, series_sizes if issubclass(task, Forecaster) else image_sizes, arguments


def same(a, b):
    return str(a) == str(b) and all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


def test_every_named_task_is_a_pair():
    assert {cls.__name__ for cls in PAIRS} == {*tasks.__all__} - {
        *("Task", "Classifier", "Regressor", "Segmenter", "Forecaster")
    }


@pytest.mark.parametrize("task", PAIRS)
def test_arguments_reach_the_network(task):
    net, sizes, arguments = network_of(task)
    torch.manual_seed(0)
    model = make(task, **arguments)
    torch.manual_seed(0)
    expected = net(**sizes, out_features=5, **OTHER_DEFAULTS.get(task.__name__, {}) | arguments)
    actual = model.net.net if issubclass(task, Forecaster) else model.net
    assert same(actual, expected)
    assert getattr(actual, "pooling", None) == arguments.get("pooling")
    x = torch.randn(2, *model.hparams["input_shape"])
    output_shape = {Forecaster: (5, 2), Segmenter: (5, *IMAGE[1:])}.get(kind_of(task), (5,))
    assert model.eval()(x).shape == (2, *output_shape)


@pytest.mark.parametrize("task", PAIRS)
def test_default_weights_are_those_of_the_network(task):
    net, sizes, _ = network_of(task)
    torch.manual_seed(0)
    model = make(task)
    torch.manual_seed(0)
    expected = net(**sizes, out_features=5, **OTHER_DEFAULTS.get(task.__name__, {}))
    assert same(model.net.net if issubclass(task, Forecaster) else model.net, expected)


def resolved(cls):
    """Return the options that the command line offers for a class."""
    parser = ArgumentParser()
    parser.add_class_arguments(cls)
    return {action.dest: action for action in parser._actions if action.dest != "help"}


@pytest.mark.parametrize("task", PAIRS)
def test_options_are_those_of_the_network_and_the_task(task):
    """An option that the resolver loses, or whose default it cannot read, is missing on the command line."""
    expected = {}
    for cls in reversed(task.mro()[: task.mro().index(Task) + 1]):
        if "__init__" in vars(cls):
            parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
            expected |= {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "net"}
    expected = {name: None if default is inspect.Parameter.empty else default for name, default in expected.items()}
    options = resolved(task)
    assert {name: option.default for name, option in options.items()} == expected
    assert all(option.help for option in options.values())


@pytest.mark.parametrize("task", PAIRS)
def test_no_argument_of_the_network_is_missing(task):
    net, _, _ = network_of(task)
    parameters = list(inspect.signature(net).parameters.values())[2:]  # without the sizes of inputs and outputs
    expected = {parameter.name: parameter.default for parameter in parameters} | OTHER_DEFAULTS.get(task.__name__, {})
    if issubclass(task, named_tasks.WithLinear):
        expected = {"init": expected["init"]}
    options = resolved(task)
    assert {name: options[name].default for name in expected} == expected


def plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


@pytest.mark.parametrize("task", PAIRS)
def test_a_checkpoint_restores_the_model(task, tmp_path):
    _, _, arguments = network_of(task)
    arguments = {
        **arguments,
        "optimizer": "SGD",
        "lr": 0.1,
        "optimizer_args": {"momentum": 0.9},
        "lr_scheduler": "OneCycleLR",
    }
    targets = torch.randn(4, 5)
    if issubclass(task, (Classifier, Segmenter)):
        names = ["a", "b", "c", "d", "e"]
        arguments |= {"class_names": names, "class_counts": [2, 1, 1, 1, 1], "class_weights": "balanced"}
        targets = torch.tensor([0, 1, 2, 0])
        if issubclass(task, Segmenter):
            targets = targets.view(4, 1, 1).expand(4, *IMAGE[1:])
    elif issubclass(task, Forecaster):
        arguments |= {"share_channels": False, "channel_mean": [1.0, 2.0], "channel_std": [3.0, 4.0]}
        targets = torch.randn(4, 5, 2)
    model = make(task, **arguments)
    x = torch.randn(4, *model.hparams["input_shape"])
    loader = DataLoader(TensorDataset(x, targets), batch_size=4)
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", logger=False, max_epochs=1, num_sanity_val_steps=0, **quiet)
    trainer.fit(model, loader, loader)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)

    restored = task.load_from_checkpoint(path, weights_only=True)
    assert same(restored.net, model.net)
    assert torch.equal(restored.eval()(x), model.eval()(x))
    assert restored.hparams == model.hparams
    assert restored.optimization == model.optimization
    stored = torch.load(path, weights_only=True)["hyper_parameters"]
    assert plain(dict(stored))
    assert stored.keys() == resolved(task).keys() & stored.keys()
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in stored.items()}.items() >= (
        arguments | {"input_shape": list(model.hparams["input_shape"])}
    ).items()
    if issubclass(task, (Classifier, Segmenter)):
        assert restored.class_names == names
        assert torch.equal(restored.criterion.weight, model.criterion.weight)


@pytest.mark.parametrize("mixin", NETWORKS)
def test_a_network_without_a_task_is_refused(mixin):
    pairs = [cls.__name__ for cls in PAIRS if issubclass(cls, mixin)]
    with pytest.raises(InputError, match=f"^{mixin.__name__} is a network without a task.* {', '.join(pairs[:1])}"):
        mixin(input_shape=IMAGE)


@pytest.mark.parametrize(
    ("task", "shape", "message"),
    [
        (CNNClassifier, (64,), r"reads images \(.* is a table row \(64\): use MLPClassifier"),
        (CNNClassifier, (20, 7), r"reads images \(.* is a sequence \(20, 7\): use MLPClassifier, RNNClassifier"),
        (CNNClassifier, (None,), r"reads images \(.* is a text \(any\): use RNNClassifier"),
        (ResNetClassifier, (64,), r"reads images \(.* is a table row \(64\): use MLPClassifier"),
        (AirNetClassifier, (20, 7), r"reads images \(.* is a sequence \(20, 7\): use MLPClassifier"),
        (AirNetClassifier, (3, 1, 9), r"reads images of at least 2x2 pixels, but those of the data are \(3, 1, 9\)"),
        (MLPClassifier, (None,), r"reads inputs of one size, .* is a text \(any\): use RNNClassifier"),
        *(
            (task, (64,), r"reads sequences \(.* is a table row \(64\): use MLPClassifier")
            for task in (RNNClassifier, CNN1dClassifier, TransformerClassifier)
        ),
    ],
)
def test_data_of_the_wrong_shape_are_refused_with_a_suggestion(task, shape, message):
    with pytest.raises(InputError, match=f"^{task.__name__} {message}"):
        task(input_shape=shape, num_classes=3)


@pytest.mark.parametrize("shape", [(64,), (20, 7), (1, 8, 8)])
def test_an_mlp_reads_any_shape(shape):
    assert MLPClassifier(input_shape=shape, num_classes=3)(torch.randn(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("task", [RNNClassifier, RNNRegressor])
def test_a_step_may_hold_several_rows_of_an_image(task):
    model = make(task, rows_per_step=4)
    assert model.net.forwards[0].input_size == 4 * 3 * 9
    assert model(torch.randn(2, *IMAGE)).shape == (2, 5)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (RNNClassifier, IMAGE),
        (RNNClassifier, (20, 7)),
        (RNNRegressor, IMAGE),
        (RNNRegressor, (20, 7)),
        (RNNForecaster, (20, 7)),
    ],
)
def test_rows_per_step_that_do_not_fit_are_refused(task, shape):
    with pytest.raises(InputError, match="rows_per_step"):
        make(task, input_shape=shape, rows_per_step=3)


def test_a_forecaster_has_no_options_that_would_do_nothing():
    for task in (RNNForecaster, TransformerForecaster):
        assert not {"vocab_size", "embedding_size"} & resolved(task).keys()
    assert "patch_length" not in resolved(MLPForecaster)


TOKEN_TASKS = [
    RNNClassifier,
    CNN1dClassifier,
    TransformerClassifier,
    RNNRegressor,
    CNN1dRegressor,
    TransformerRegressor,
]


@pytest.mark.parametrize("task", TOKEN_TASKS)
def test_padded_sequences_are_read(task):
    model = make(task, input_shape=(20, 7)).eval()
    x, lengths = torch.randn(2, 20, 7), torch.tensor([20, 4])
    torch.testing.assert_close(model((x, lengths))[1], model(x[1:, :4])[0])


@pytest.mark.parametrize("task", TOKEN_TASKS)
def test_tokens_are_embedded(task):
    torch.manual_seed(0)
    model = make(task, input_shape=(None,), vocab_size=11, embedding_size=5, init="normal").eval()
    assert isinstance(model.net, Embedded)
    assert model.net.embedding.weight.shape == (11, 5)
    assert model.net.embedding.weight.std() < 0.02
    tokens, lengths = torch.randint(1, 11, (2, 20)), torch.tensor([20, 4])
    torch.testing.assert_close(model((tokens, lengths))[1], model((tokens[1:, :4], lengths[1:]))[0])


@pytest.mark.parametrize("task", PAIRS)
def test_a_misspelled_argument_is_refused(task):
    with pytest.raises(TypeError, match="learning_rate"):
        make(task, learning_rate=0.1)
