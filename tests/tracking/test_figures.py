from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional.classification import multiclass_auroc

from litnets.__main__ import main
from litnets.runs.folder import Run
from litnets.tasks import Classifier
from litnets.tracking.figures import Figures, Mistake, confusion, curves, top_losses
from litnets.tracking.histograms import Histograms
from litnets.tracking.tensorboard import Graph
from litnets.training import assemble

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    # Lightning's TensorBoardLogger with no file of hyperparameters yet.
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


@pytest.fixture
def outputs():
    torch.manual_seed(1)
    targets = torch.randint(0, 3, (500,))
    return (torch.randn(500, 3) + nn.functional.one_hot(targets, 3)).softmax(1), targets


def test_confusion_matrix_has_targets_in_rows():
    predictions, targets = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 1, 2, 2, 2])
    assert confusion(predictions, targets, 4).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_areas_under_the_curves_match_the_metrics(outputs):
    probabilities, targets = outputs
    roc, pr = curves(probabilities, targets, ["a", "b", "c"])
    assert [curve.name for curve in roc] == [curve.name for curve in pr] == ["a", "b", "c"]
    expected = multiclass_auroc(probabilities, targets, 3, average=None)
    for curve, area in zip(roc, expected, strict=True):
        assert torch.trapezoid(curve.y, curve.x).item() == pytest.approx(area.item(), abs=0.01)
        assert len(curve.x) <= 200
    for c, curve in enumerate(pr):
        # At full recall every sample is predicted as the class, so the precision is the class frequency.
        assert curve.x.max() == 1
        assert curve.y[curve.x == 1].min().item() == pytest.approx((targets == c).float().mean().item(), abs=1e-6)


def test_a_class_without_samples_has_no_curve(outputs):
    probabilities, targets = outputs
    roc, pr = curves(probabilities, targets.clamp_max(1), ["a", "b", "c"])
    assert [curve.name for curve in roc] == [curve.name for curve in pr] == ["a", "b"]


def test_multilabel_targets_have_curves(outputs):
    probabilities, targets = outputs
    labels = (nn.functional.one_hot(targets, 3) + torch.tensor([0, 1, 0])).clamp_max(1)
    roc, _ = curves(probabilities, labels, ["a", "b", "c"])
    assert [curve.name for curve in roc] == ["a", "c"], "a label that all samples have must have no curve"


def test_only_the_most_frequent_classes_have_curves():
    targets = torch.arange(30).repeat(4)
    targets[targets == 29] = 0
    roc, _ = curves(torch.rand(120, 30).softmax(1), targets, [str(i) for i in range(30)])
    assert len(roc) == 20
    assert roc[0].name == "0"


def test_top_losses_are_sorted_and_limited():
    mistakes = [Mistake(i, "a", "b", float(i % 50), torch.zeros(1)) for i in range(100)]
    assert [mistake.loss for mistake in top_losses(mistakes)[:3]] == [49, 49, 48]
    assert len(top_losses(mistakes)) == 32


def train(folder, net, inputs, targets, **options):
    """Train for two epochs and test, logging to TensorBoard. Return the weights."""
    torch.manual_seed(0)
    model = Classifier(net, 3, ["a", "b", "c"], optimizer="SGD", lr=0.1)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=16)
    trainer = Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder, name="", version=""),
        max_epochs=2,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, loader, loader)
    trainer.test(model, loader, verbose=False)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


@pytest.fixture
def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture
def samples():
    torch.manual_seed(2)
    return torch.randn(50, 4), torch.arange(50) % 3


def test_tensorboard_logging_does_not_change_training(tmp_path, net, samples):
    state = {name: value.clone() for name, value in net.state_dict().items()}
    weights = train(tmp_path / "all", net, *samples, callbacks=[Figures(), Graph(), Histograms(Run(tmp_path))])
    logged = events(tmp_path / "all")
    assert set(logged.Tags()["images"]) == {"test/confusion_matrix", "test/roc", "test/pr"}
    for name in logged.Tags()["images"]:
        (image,) = logged.Images(name)
        assert image.width >= 400
        assert image.height >= 400
    graph = logged.Graph()
    assert any("BatchNorm1d" in node.name for node in graph.node)
    for kind in ("weights", "gradients"):
        histograms = logged.Histograms(f"{kind}/net.0.weight")
        assert [histogram.step for histogram in histograms] == [3, 7]
        assert histograms[0].histogram_value.num == 32
    activations = logged.Histograms("activations/net.0")
    assert [histogram.step for histogram in activations] == [3, 7]
    assert activations[0].histogram_value.num == 2 * 8  # the last of the batches has two samples
    assert "activations/net.2" not in logged.Tags()["histograms"], "dropout is not a layer"
    assert "train/loss" in logged.Tags()["scalars"]

    net.load_state_dict(state)
    assert torch.equal(train(tmp_path / "none", net, *samples), weights)
    plain = events(tmp_path / "none").Tags()
    assert (plain["images"], plain["histograms"], plain["graph"]) == ([], [], False)


@pytest.mark.slow
def test_compiled_networks_have_a_graph(tmp_path, net, samples):
    net.compile(backend="eager")
    train(tmp_path, net, *samples, callbacks=[Graph()])
    assert any("BatchNorm1d" in node.name for node in events(tmp_path).Graph().node)


class Untraceable(nn.Module):
    """A network that cannot be traced."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        if torch.jit.is_tracing():
            raise RuntimeError("not traceable\nmore")
        return self.layer(inputs)


class NeedsTwoSamples(Untraceable):
    """A network that fails on a single sample, with an error that has no message."""

    def forward(self, inputs):
        if len(inputs) < 2:
            raise AssertionError
        return self.layer(inputs)


@pytest.mark.parametrize(
    ("net", "reason"),
    [(Untraceable(), "Untraceable: not traceable"), (NeedsTwoSamples(), "NeedsTwoSamples: AssertionError()")],
)
def test_networks_that_cannot_be_traced_are_trained(tmp_path, net, reason, samples, capsys):
    train(tmp_path, net, *samples, callbacks=[Graph()])
    assert capsys.readouterr().out == f"TensorBoard: no graph of {reason}\n"


def test_missing_matplotlib_is_reported(tmp_path, net, samples, capsys, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    train(tmp_path, net, *samples, callbacks=[Figures()])
    assert 'pip install -e ".[figures]"' in capsys.readouterr().out
    assert events(tmp_path).Tags()["images"] == []


def test_cli_draws_figures_if_matplotlib_is_installed(tmp_path, monkeypatch):
    for name, installed, num_images in (("with", True, 3), ("without", False, 0)):
        monkeypatch.setattr(assemble, "find_spec", lambda module, there=installed: find_spec(module) if there else None)
        options = ["--trainer.max_epochs", "1", "--experiment", name, "--data", "Iris", "--model", "MLPClassifier"]
        assert main(["fit", *options]) == 0
        (folder,) = tmp_path.glob(f"checkpoints/{name}/*/tensorboard")
        assert len(events(folder).Tags()["images"]) == num_images


def test_a_mistake_keeps_its_own_input_and_not_the_batch() -> None:
    figures = Figures()
    batch = torch.rand(64, 1, 4, 4), torch.zeros(64, dtype=torch.long)
    outputs = torch.tensor([[0.1, 0.9]]).repeat(64, 1)
    figures.on_test_batch_end(Trainer(logger=False), SimpleNamespace(class_names=["a", "b"]), outputs, batch, 0)
    assert figures._mistakes
    for mistake in figures._mistakes:
        assert mistake.inputs.untyped_storage().nbytes() == mistake.inputs.nbytes
