import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.tasks import Classifier, CNNClassifier, MLPClassifier, Regressor, RNNClassifier

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


class PowerLoss(nn.Module):
    """A user-defined loss with a trainable parameter."""

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.power = power
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if targets.ndim < outputs.ndim:
            targets = nn.functional.one_hot(targets, outputs.shape[1])
        return (self.scale * (outputs - targets).abs() ** self.power).mean()


class PerSampleLoss(nn.Module):
    """An invalid loss: it returns one value per sample instead of a scalar."""

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.sum(1)


CUSTOM_LOSS = f"{__name__}.PowerLoss"


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, nn.CrossEntropyLoss()),
        ({"loss": "CrossEntropyLoss", "loss_args": {"label_smoothing": 0.2}}, nn.CrossEntropyLoss(label_smoothing=0.2)),
        ({"loss_args": {"weight": [1.0, 2.0, 3.0]}}, nn.CrossEntropyLoss(torch.tensor([1.0, 2, 3]))),
        ({"loss_args": {"weight": [1, 2, 3]}}, nn.CrossEntropyLoss(torch.tensor([1.0, 2, 3]))),
        ({"loss": "MultiMarginLoss", "loss_args": {"margin": 0.5}}, nn.MultiMarginLoss(margin=0.5)),
        (
            {"loss": "MultiMarginLoss", "class_weights": [1.0, 2.0, 3.0]},
            nn.MultiMarginLoss(weight=torch.tensor([1.0, 2, 3])),
        ),
        ({"loss": CUSTOM_LOSS, "loss_args": {"power": 1.5}}, PowerLoss(1.5)),
    ],
)
def test_classification_losses(kwargs, expected):
    logits, targets = torch.randn(9, 3), torch.arange(9) % 3
    model = Classifier(nn.Identity(), 3, **kwargs)
    torch.testing.assert_close(model.loss(logits, targets), expected(logits, targets))


def test_parameters_of_a_custom_loss_are_trained_and_saved():
    model = Regressor(nn.Identity(), 2, loss=CUSTOM_LOSS)
    assert "criterion.scale" in model.state_dict()
    assert any(parameter is model.criterion.scale for parameter in model.parameters())


@pytest.mark.parametrize(
    "kwargs",
    [
        {"class_weights": [1.0, 2.0]},
        {"loss": "BCEWithLogitsLoss", "loss_args": {"pos_weight": [2.0]}},
        {"multilabel": True, "loss_args": {"pos_weight": [2.0, 1.0]}},
    ],
)
def test_class_weights_are_not_in_the_state_dict(kwargs):
    model = Classifier(nn.Identity(), 2, **kwargs)
    assert list(model.criterion.buffers())
    assert not model.state_dict()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Classifier(nn.Identity(), 3, loss="CrossEntropy"),
            "'CrossEntropy' .* did you mean 'CrossEntropyLoss'",
        ),
        (lambda: Classifier(nn.Identity(), 3, loss="MSELoss"), r"'MSELoss' does not fit here .*CrossEntropyLoss"),
        (lambda: Classifier(nn.Identity(), 3, loss="NLLLoss"), "'NLLLoss' does not fit here"),
        (lambda: Classifier(nn.Identity(), 2, multilabel=True, loss="CrossEntropyLoss"), "fits: BCEWithLogitsLoss"),
        (lambda: Classifier(nn.Identity(), 3, loss="BCEWithLogitsLoss"), "is for two classes, but the data have 3"),
        (lambda: Classifier(nn.Identity(), 3, loss="torch.nn.MSELoss"), "torch.nn.MSELoss does not work here"),
        (lambda: Classifier(nn.Identity(), 3, loss="nowhere.Loss"), "cannot import 'nowhere.Loss'"),
        (
            lambda: Classifier(nn.Identity(), 3, loss=f"{__name__}.PerSampleLoss"),
            "does not give one number for a batch",
        ),
        (lambda: Classifier(nn.Identity(), 3, loss_args={"smoothing": 1}), "CrossEntropyLoss takes no 'smoothing'"),
        (lambda: Classifier(nn.Identity(), 3, loss_args={"weight": [1.0]}), "CrossEntropyLoss does not work here"),
        (lambda: Classifier(nn.Identity(), 3, loss_args={"reduction": "sum"}), "reduction is always mean"),
        (
            lambda: Classifier(nn.Identity(), 3, loss=CUSTOM_LOSS, label_smoothing=0.1),
            "PowerLoss takes no 'label_smoothing'",
        ),
        (
            lambda: Classifier(nn.Identity(), 2, loss="BCEWithLogitsLoss", label_smoothing=0.1),
            "label_smoothing: BCEWithLogitsLoss does not support it",
        ),
        (
            lambda: Classifier(nn.Identity(), 2, loss="BCEWithLogitsLoss", class_weights=[1.0, 2.0]),
            r"class_weights: BCEWithLogitsLoss does not support it; .*pos_weight",
        ),
        (
            lambda: Classifier(nn.Identity(), 2, loss="BCEWithLogitsLoss", loss_args={"pos_weight": [1.0, 2.0]}),
            "BCEWithLogitsLoss does not work here",
        ),
        (lambda: Regressor(nn.Identity(), 2, loss="CrossEntropyLoss"), "'CrossEntropyLoss' does not fit here"),
        (lambda: Regressor(nn.Identity(), 2, loss="MseLoss"), "did you mean 'MSELoss'"),
        (lambda: Regressor(nn.Identity(), 2, loss="HuberLoss", loss_args={"delta": -1.0}), "HuberLoss does not work"),
        (lambda: Regressor(nn.Identity(), 2, loss="HuberLoss", loss_args={"beta": 1.0}), "takes no 'beta'"),
    ],
)
def test_an_unsuitable_loss_raises_before_training(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("task", "shape"), [(MLPClassifier, (3,)), (CNNClassifier, (1, 8, 8)), (RNNClassifier, (20, 7))]
)
def test_classifiers_refuse_data_without_classes(task, shape):
    with pytest.raises(InputError, match=rf"{task.__name__} predicts classes.* use {task.__name__[:3]}Regressor"):
        task(input_shape=shape, num_classes=None)


# Binary classification with one logit


@pytest.mark.parametrize(
    ("task", "shape"), [(MLPClassifier, (3,)), (CNNClassifier, (1, 8, 8)), (RNNClassifier, (20, 7))]
)
def test_binary_tasks_have_one_or_two_logits(task, shape):
    x = torch.randn(4, *shape)
    assert task(input_shape=shape, num_classes=2, loss="BCEWithLogitsLoss")(x).shape == (4, 1)
    assert task(input_shape=shape, num_classes=2)(x).shape == (4, 2)
    assert task(input_shape=shape, num_classes=2, multilabel=True, loss="BCEWithLogitsLoss")(x).shape == (4, 2)


def test_one_logit_equals_two_logits_with_the_first_at_zero():
    """Loss, probabilities and metrics equal those of cross entropy on (0, logit)."""
    logits, targets = torch.randn(20, 1), torch.arange(20) % 2
    one = Classifier(nn.Identity(), 2, loss="BCEWithLogitsLoss")
    two = Classifier(nn.Identity(), 2)
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(one.loss(logits, targets), two.loss(both, targets))
    torch.testing.assert_close(one.metric_inputs(logits), two.metric_inputs(both))
    columns = one.predict_step((logits, targets), 0)
    assert torch.equal(columns["prediction"], (logits[:, 0] > 0).long())
    assert columns["probability"].shape == (20, 2)
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    results = []
    for model, outputs in ((one, logits), (two, both)):
        trainer = Trainer(accelerator="cpu", logger=False, **quiet)
        results += trainer.test(model, DataLoader(TensorDataset(outputs, targets), batch_size=7), verbose=False)
    assert results[0] == pytest.approx(results[1], abs=1e-5)
    assert results[0]["test/auroc"] == pytest.approx(roc_auc_score(targets, logits[:, 0]), abs=1e-6)


def test_pos_weight_multiplies_the_loss_of_positive_samples():
    logits, targets = torch.randn(20, 1), torch.arange(20) % 2
    model = Classifier(nn.Identity(), 2, loss="BCEWithLogitsLoss", loss_args={"pos_weight": [3.0]})
    p = logits[:, 0].sigmoid()
    expected = -torch.where(targets == 1, 3 * p.log(), (1 - p).log()).mean()
    torch.testing.assert_close(model.loss(logits, targets), expected)


# Multi-label targets


def multilabel_batch():
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(53, 4, generator=generator) < torch.tensor([0.5, 0.3, 0.2, 0.7])).long()
    return torch.randn(53, 4, generator=generator) + targets, targets


def test_multilabel_metrics_match_sklearn():
    logits, targets = multilabel_batch()
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", logger=False, **quiet)
    model = Classifier(nn.Identity(), 4, class_names=list("abcd"), multilabel=True)
    (metrics,) = trainer.test(model, DataLoader(TensorDataset(logits, targets), batch_size=10), verbose=False)
    predictions = (logits > 0).long()
    expected = {
        "loss": nn.BCEWithLogitsLoss()(logits, targets.float()).item(),
        "accuracy": (predictions == targets).float().mean().item(),
        "precision": precision_score(targets, predictions, average="macro"),
        "recall": recall_score(targets, predictions, average="macro"),
        "f1": f1_score(targets, predictions, average="macro"),
        "auroc": roc_auc_score(targets, logits, average="macro"),
    }
    assert len({round(value, 3) for value in expected.values()}) == 6
    for name, value in expected.items():
        assert metrics[f"test/{name}"] == pytest.approx(value, abs=1e-5), name
    for name, value in zip("abcd", f1_score(targets, predictions, average=None), strict=True):
        assert metrics[f"test/f1/{name}"] == pytest.approx(value, abs=1e-6)


def test_multilabel_predictions_use_a_threshold_of_one_half():
    logits, targets = multilabel_batch()
    columns = Classifier(nn.Identity(), 4, multilabel=True).predict_step((logits, targets), 0)
    assert torch.equal(columns["prediction"], (logits > 0).long())
    torch.testing.assert_close(columns["probability"], logits.sigmoid())


def test_class_weights_multiply_the_losses_of_each_label():
    logits, targets = multilabel_batch()
    model = Classifier(nn.Identity(), 4, multilabel=True, class_weights=[1.0, 0.0, 2.0, 0.5])
    p = logits.sigmoid()
    losses = -(targets * p.log() + (1 - targets) * (1 - p).log()) * torch.tensor([1.0, 0.0, 2.0, 0.5])
    torch.testing.assert_close(model.loss(logits, targets), losses.mean())
