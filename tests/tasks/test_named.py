import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.nets import CNN, MLP, RNN, AirNet, CNN1d, Embedded, ResNet, Transformer
from litnets.tasks import (
    AirNetClassifier,
    CNN1dClassifier,
    CNNClassifier,
    MLPClassifier,
    ResNetClassifier,
    RNNClassifier,
    RNNRegressor,
    TransformerClassifier,
)

# The data are in memory: workers would only slow them down.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

IMAGE = (3, 8, 9)
# A task, its network, the sizes that the network takes of an image, and a value other than the default for each of the
# rest of its arguments.
NAMED = [
    (
        MLPClassifier,
        MLP,
        {"in_features": 216},
        {
            "hidden_layer_sizes": [7, 6],
            "activation": ["tanh", "gelu"],
            "dropout": [0.1, 0.2],
            "batch_norm": [True, False],
            "init": "he",
        },
    ),
    (
        CNNClassifier,
        CNN,
        {"in_channels": 3},
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
    (ResNetClassifier, ResNet, {"in_channels": 3}, {"depth": 32, "init": "xavier"}),
    (AirNetClassifier, AirNet, {"in_channels": 3}, {"widths": [4, 6]}),
    (
        RNNClassifier,
        RNN,
        {"input_size": 27},
        {
            "hidden_size": 5,
            "num_layers": 3,
            "cell": "gru",
            "bidirectional": True,
            "dropout": 0.1,
            "pooling": "attention",
            "init": "orthogonal",
        },
    ),
    (
        CNN1dClassifier,
        CNN1d,
        {"input_size": 27},
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
    (
        TransformerClassifier,
        Transformer,
        {"input_size": 27},
        {
            "hidden_size": 6,
            "num_layers": 3,
            "num_heads": 3,
            "dropout": 0.2,
            "pooling": "first",
            "init": "xavier",
        },
    ),
]
TASKS = [task for task, *_ in NAMED]


def same(a, b):
    return str(a) == str(b) and all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize(("task", "net", "sizes", "given"), NAMED)
def test_arguments_reach_the_network(task, net, sizes, given):
    torch.manual_seed(0)
    model = task(input_shape=IMAGE, num_classes=42, **given)
    torch.manual_seed(0)
    expected = net(**sizes, out_features=42, **given)
    assert same(model.net, expected)
    assert getattr(model.net, "pooling", None) == given.get("pooling")
    assert model.eval()(torch.randn(2, *IMAGE)).shape == (2, 42)


@pytest.mark.parametrize(("task", "net", "sizes", "given"), NAMED)
def test_defaults_are_the_networks(task, net, sizes, given):
    torch.manual_seed(0)
    model = task(input_shape=IMAGE, num_classes=42)
    torch.manual_seed(0)
    assert same(model.net, net(**sizes, out_features=42))


def plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


@pytest.mark.parametrize(("task", "net", "sizes", "given"), NAMED)
def test_a_checkpoint_gives_the_model_back(task, net, sizes, given, tmp_path):
    model = task(
        input_shape=IMAGE,
        num_classes=3,
        class_names=["a", "b", "c"],
        class_counts=[2, 1, 1],
        class_weights="balanced",
        optimizer="SGD",
        lr=0.1,
        optimizer_args={"momentum": 0.9},
        lr_scheduler="OneCycleLR",
        **given,
    )
    x = torch.randn(4, *IMAGE)
    loader = DataLoader(TensorDataset(x, torch.tensor([0, 1, 2, 0])), batch_size=2)
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", logger=False, max_epochs=1, **quiet)
    trainer.fit(model, loader, loader)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)

    again = task.load_from_checkpoint(path, weights_only=True)
    assert same(again.net, model.net)
    assert torch.equal(again.eval()(x), model.eval()(x))
    assert again.hparams == model.hparams
    assert again.optimization == model.optimization
    assert again.class_names == ["a", "b", "c"]
    assert torch.equal(again.criterion.weight, model.criterion.weight)
    stored = torch.load(path, weights_only=True)["hyper_parameters"]
    assert plain(dict(stored))
    assert stored["lr"] == 0.1
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in stored.items()}.items() >= (
        {"num_classes": 3, "input_shape": list(IMAGE), "optimizer_args": {"momentum": 0.9}} | given
    ).items()


@pytest.mark.parametrize(
    ("task", "shape", "message"),
    [
        (CNNClassifier, (64,), r"CNNClassifier reads images \(.* is a row of a table \(64\): an MLP fits"),
        (CNNClassifier, (20, 7), r"CNNClassifier reads images \(.* is a sequence \(20, 7\): an RNN, a CNN1d or a Tr"),
        (CNNClassifier, (None,), r"CNNClassifier reads images \(.* is a text \(any\): an RNN, a CNN1d or a Tr"),
        (ResNetClassifier, (64,), r"ResNetClassifier reads images \(.* is a row of a table \(64\): an MLP fits"),
        (AirNetClassifier, (20, 7), r"AirNetClassifier reads images \(.* is a sequence \(20, 7\): an RNN, a CNN1d or"),
        (AirNetClassifier, (3, 1, 9), r"AirNetClassifier reads images from 2x2 pixels up; these data have \(3, 1, 9\)"),
        (MLPClassifier, (None,), r"MLPClassifier reads inputs of one size; .* is a text \(any\): an RNN, a CNN1d or a"),
        *(
            (task, (64,), rf"{task.__name__} reads sequences \(.* is a row of a table \(64\): an MLP fits")
            for task in (RNNClassifier, CNN1dClassifier, TransformerClassifier)
        ),
    ],
)
def test_a_network_for_other_data(task, shape, message):
    with pytest.raises(InputError, match=message):
        task(input_shape=shape, num_classes=3)


@pytest.mark.parametrize("shape", [(64,), (20, 7), (1, 8, 8)])
def test_an_mlp_reads_any_shape(shape):
    assert MLPClassifier(input_shape=shape, num_classes=3)(torch.randn(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("task", [RNNClassifier, RNNRegressor])
def test_some_rows_of_an_image_are_one_step(task):
    model = task(IMAGE, 3, rows_per_step=4)
    assert model.net.forwards[0].input_size == 4 * 3 * 9
    assert model(torch.randn(2, *IMAGE)).shape == (2, 3)


@pytest.mark.parametrize("task", [RNNClassifier, RNNRegressor])
@pytest.mark.parametrize("shape", [IMAGE, (20, 7)])
def test_rows_that_are_not_there(task, shape):
    with pytest.raises(InputError, match="rows_per_step"):
        task(shape, 3, rows_per_step=3)


@pytest.mark.parametrize("task", [RNNClassifier, CNN1dClassifier, TransformerClassifier])
def test_padded_sequences_are_read(task):
    model = task(input_shape=(20, 7), num_classes=3).eval()
    x, lengths = torch.randn(2, 20, 7), torch.tensor([20, 4])
    torch.testing.assert_close(model((x, lengths))[1], model(x[1:, :4])[0])


@pytest.mark.parametrize("task", [RNNClassifier, CNN1dClassifier, TransformerClassifier])
def test_tokens_are_embedded(task):
    torch.manual_seed(0)
    model = task(input_shape=(None,), num_classes=3, vocab_size=11, embedding_size=5, init="normal").eval()
    assert isinstance(model.net, Embedded)
    assert model.net.embedding.weight.shape == (11, 5)
    assert model.net.embedding.weight.std() < 0.02
    tokens, lengths = torch.randint(1, 11, (2, 20)), torch.tensor([20, 4])
    torch.testing.assert_close(model((tokens, lengths))[1], model((tokens[1:, :4], lengths[1:]))[0])


@pytest.mark.parametrize("task", TASKS)
def test_a_misspelt_argument_is_refused(task):
    with pytest.raises(TypeError, match="learning_rate"):
        task(input_shape=IMAGE, num_classes=3, learning_rate=0.1)
