import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.tasks import Classifier, MLPClassifier

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

NAMES = ["ant", "bee", "cat", "a/b", "eel"]


def logits_and_targets(size=53):
    """Logits that are right about half of the time, and targets of imbalanced classes."""
    rng = np.random.default_rng(0)
    targets = rng.choice(5, size, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    targets[:5] = range(5)
    logits = rng.normal(size=(size, 5)) + 1.5 * np.eye(5)[targets]
    return logits.astype("float32"), targets


def evaluate(logits, targets, how="test", **kwargs):
    """The metrics of a classifier whose network is the identity."""
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(torch.from_numpy(logits), torch.from_numpy(targets)), batch_size=10)
    (metrics,) = getattr(trainer, how)(Classifier(nn.Identity(), 5, **kwargs), loader, verbose=False)
    return metrics


def softmax(logits):
    exp = np.exp(logits)
    return exp / exp.sum(1, keepdims=True)


@pytest.mark.parametrize(("how", "split"), [("validate", "val"), ("test", "test")])
def test_metrics_match_sklearn(how, split):
    logits, targets = logits_and_targets()
    predictions = logits.argmax(1)
    precision, recall, f1, _ = precision_recall_fscore_support(targets, predictions, average="macro")
    expected = {
        "accuracy": accuracy_score(targets, predictions),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auroc": roc_auc_score(targets, softmax(logits.astype(float)), multi_class="ovr", average="macro"),
    }
    assert len({round(value, 4) for value in expected.values()}) == 5  # all different, so that no two can be confused
    metrics = evaluate(logits, targets, how)
    for name, value in expected.items():
        assert metrics[f"{split}/{name}"] == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize("names", [None, NAMES])
def test_metrics_per_class_match_sklearn(names):
    logits, targets = logits_and_targets()
    metrics = evaluate(logits, targets, class_names=names)
    each = precision_recall_fscore_support(targets, logits.argmax(1), average=None)
    for metric, values in zip(("precision", "recall", "f1"), each[:3], strict=True):
        for name, value in zip(names or "01234", values, strict=True):
            assert metrics[f"test/{metric}/{name}"] == pytest.approx(value, abs=1e-6)


def test_a_class_that_is_never_predicted():
    logits, targets = logits_and_targets()
    logits[:, 4] = -9
    expected = precision_recall_fscore_support(targets, logits.argmax(1), average="macro", zero_division=0)
    metrics = evaluate(logits, targets)
    assert [metrics[f"test/{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3], abs=1e-6)


def cross_entropy(logits, targets, smoothing=0.0, weights=(1, 1, 1, 1, 1)):
    """Mean over samples, weighted by class, as in PyTorch, with label smoothing as in Szegedy et al. (2016)."""
    soft_targets = (1 - smoothing) * np.eye(5)[targets] + smoothing / 5
    losses = -(soft_targets * np.asarray(weights) * np.log(softmax(logits.astype(float)))).sum(1)
    return losses.sum() / np.asarray(weights)[targets].sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 0.0, 3.0]])
def test_loss_matches_numpy(smoothing, weights):
    logits, targets = logits_and_targets()
    model = Classifier(nn.Identity(), 5, label_smoothing=smoothing, class_weights=weights)
    loss = model.loss(torch.from_numpy(logits), torch.from_numpy(targets)).item()
    assert loss == pytest.approx(cross_entropy(logits, targets, smoothing, weights or [1] * 5), abs=1e-5)


def test_balanced_weights_match_sklearn():
    logits, targets = logits_and_targets()
    model = Classifier(nn.Identity(), 5, class_weights="balanced", class_counts=np.bincount(targets).tolist())
    expected = compute_class_weight("balanced", classes=np.arange(5), y=targets)
    np.testing.assert_allclose(model.criterion.weight, expected, rtol=1e-6)
    loss = model.loss(torch.from_numpy(logits), torch.from_numpy(targets)).item()
    assert loss == pytest.approx(cross_entropy(logits, targets, weights=expected), abs=1e-5)


def test_balanced_weights_of_a_class_without_samples_are_finite():
    model = Classifier(nn.Identity(), 3, class_weights="balanced", class_counts=[6, 3, 0])
    np.testing.assert_allclose(model.criterion.weight, [0.5, 1, 3])


def test_class_counts_alone_set_no_weights():
    assert Classifier(nn.Identity(), 3, class_counts=[6, 3, 1]).criterion.weight is None


COUNTS = [60, 25, 10, 4, 1]
FREQUENCIES = [0.5, 0.1, 0.1, 0.1, 0.2]


@pytest.mark.parametrize(
    ("prior", "expected"),
    [("data", FREQUENCIES), ("balanced", [1 / 5] * 5), ([4.0, 3.0, 1.0, 1.0, 1.0], [4, 3, 1, 1, 1])],
)
def test_class_prior_shifts_the_logits_in_training_only(prior, expected):
    logits, targets = logits_and_targets()
    kwargs = {"class_counts": COUNTS, "class_shares": FREQUENCIES, "label_smoothing": 0.2}
    model = Classifier(nn.Identity(), 5, class_prior=prior, **kwargs)
    outputs, loss = model.training_forward(torch.from_numpy(logits), torch.from_numpy(targets))
    shifted = logits + np.log(np.array(COUNTS) / sum(COUNTS)) - np.log(np.array(expected) / sum(expected))
    assert loss.item() == pytest.approx(cross_entropy(shifted, targets, 0.2), abs=1e-5)
    np.testing.assert_array_equal(outputs, logits)
    plain = evaluate(logits, targets, **kwargs)
    assert evaluate(logits, targets, class_prior=prior, **kwargs) == plain
    np.testing.assert_array_equal(
        model.predict_step((torch.from_numpy(logits), None), 0)["probability"], torch.from_numpy(logits).softmax(1)
    )


def test_constant_inputs_learn_the_prior():
    model = Classifier(nn.Identity(), 5, class_prior="data", class_counts=COUNTS, class_shares=FREQUENCIES)
    logits = torch.zeros(1, 5, requires_grad=True)
    targets = torch.arange(5).repeat_interleave(torch.tensor(COUNTS))
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def step():
        optimizer.zero_grad()
        _, loss = model.training_forward(logits.expand(100, 5), targets)
        loss.backward()
        return loss

    optimizer.step(step)
    np.testing.assert_allclose(logits.softmax(1)[0].detach(), FREQUENCIES, atol=1e-3)


def test_class_prior_works_with_mixup():
    kwargs = {"class_prior": "data", "class_counts": COUNTS, "class_shares": FREQUENCIES, "input_shape": (5,)}
    torch.manual_seed(0)
    model = MLPClassifier(num_classes=5, mixup=1.0, **kwargs).eval()
    x, targets = torch.randn(8, 5), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    random.seed(1)
    torch.manual_seed(1)
    mixed, partners, weight = model.mixing(x)
    random.seed(1)
    torch.manual_seed(1)
    outputs, loss = model.training_forward(x, targets)
    shifted = model(mixed) + torch.tensor(COUNTS).div(100).log() - torch.tensor(FREQUENCIES).log()
    losses = [nn.functional.cross_entropy(shifted, classes) for classes in (targets, targets[partners])]
    torch.testing.assert_close(loss, weight * losses[0] + (1 - weight) * losses[1])
    torch.testing.assert_close(outputs, model(mixed))


def test_class_prior_is_not_in_the_state_dict():
    kwargs = {"class_prior": "balanced", "class_counts": COUNTS}
    assert not Classifier(nn.Identity(), 5, **kwargs).state_dict()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_prior": "balanced"}, "class_prior: needs the samples per class"),
        ({"class_prior": "data", "class_counts": COUNTS}, "class_prior: the data do not report the frequency"),
        ({"class_prior": [1.0, 2.0], "class_counts": COUNTS}, "class_prior: expected 5 numbers above 0, one per class"),
        ({"class_prior": [1.0, 2.0, math.nan, 1.0, 1.0], "class_counts": COUNTS}, "class_prior: expected 5 numbers"),
        ({"class_prior": [1.0, 2.0, 0.0, 1.0, 1.0], "class_counts": COUNTS}, "class_prior: expected 5 numbers above 0"),
        (
            {"class_prior": "balanced", "class_counts": COUNTS, "loss": "MultiMarginLoss"},
            "class_prior: needs single-label",
        ),
        (
            {"class_prior": "balanced", "class_counts": COUNTS, "multilabel": True},
            "class_prior: needs single-label",
        ),
    ],
)
def test_an_invalid_prior_raises(kwargs, message):
    with pytest.raises(InputError, match=message):
        Classifier(nn.Identity(), 5, **kwargs)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_split_is_averaged_over_samples(smoothing):
    """There are five batches of ten samples and one of three."""
    logits, targets = logits_and_targets()
    loss = evaluate(logits, targets, label_smoothing=smoothing)["test/loss"]
    assert loss == pytest.approx(cross_entropy(logits, targets, smoothing), abs=1e-5)


def test_predictions_are_the_classes_with_the_highest_probability():
    logits, _ = logits_and_targets(7)
    columns = Classifier(nn.Identity(), 5).predict_step((torch.from_numpy(logits), torch.zeros(7)), 0)
    np.testing.assert_array_equal(columns["prediction"], logits.argmax(1))
    np.testing.assert_allclose(columns["probability"], softmax(logits), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])  # two inputs must not be mistaken for an (inputs, targets) pair
@pytest.mark.parametrize("batch", [lambda x: x, lambda x: [x], lambda x: (x, None)])
def test_predict_step_accepts_batches_without_targets(size, batch):
    logits = torch.from_numpy(logits_and_targets()[0])[:size]
    columns = Classifier(nn.Identity(), 5).predict_step(batch(logits), 0)
    assert torch.equal(columns["prediction"], logits.argmax(1))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_weights": [1.0, 2.0]}, "class_weights: expected 5 numbers, one per class, got 2"),
        ({"class_weights": [1.0, 1.0, 1.0, 1.0, -1.0]}, "class_weights: expected numbers of at least 0"),
        ({"class_weights": [0.0] * 5}, "class_weights: expected numbers of at least 0, not all of them 0"),
        ({"class_weights": [math.nan, 1.0, 1.0, 1.0, 1.0]}, "class_weights: expected numbers of at least 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected a fraction in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing: expected a fraction"),
        ({"class_weights": "balanced"}, "class_weights: balanced needs the number of samples per class"),
    ],
)
def test_invalid_weights_raise(kwargs, message):
    with pytest.raises(InputError, match=message):
        Classifier(nn.Identity(), 5, **kwargs)


def test_weights_are_not_in_the_checkpoint():
    """They follow from the hyperparameters, and would tie a checkpoint to one training configuration."""
    assert not Classifier(nn.Identity(), 2, class_weights=[1.0, 2.0]).state_dict()


def test_class_weights_apply_to_the_epoch_mean() -> None:
    """The loss of a split is the weighted mean over its samples, regardless of the batch size."""
    model = MLPClassifier(input_shape=(3,), num_classes=3, class_weights=[1.0, 5.0, 0.5])
    inputs, targets = torch.randn(11, 3), torch.tensor([0, 1, 1, 1, 0, 2, 2, 2, 2, 0, 1])
    with torch.no_grad():
        for part in (slice(0, 4), slice(4, 11)):
            model.validation_step((inputs[part], targets[part]), 0)
        expected = torch.nn.functional.cross_entropy(model(inputs), targets, torch.tensor([1.0, 5.0, 0.5]))
    assert model.val_loss.compute().item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_epoch_mean_counts_only_what_the_loss_counts() -> None:
    """The class that `ignore_index` leaves out is distributed unevenly over the batches."""
    model = MLPClassifier(input_shape=(3,), num_classes=3, loss_args={"ignore_index": 2})
    weighted = MLPClassifier(
        input_shape=(3,), num_classes=3, class_weights=[1.0, 5.0, 0.5], loss_args={"ignore_index": 2}
    )
    inputs, targets = torch.randn(11, 3), torch.tensor([0, 2, 2, 2, 0, 1, 1, 0, 0, 2, 1])
    for module, weights in ((model, None), (weighted, torch.tensor([1.0, 5.0, 0.5]))):
        with torch.no_grad():
            for part in (slice(0, 4), slice(4, 10), slice(10, 11)):
                module.validation_step((inputs[part], targets[part]), 0)
            expected = torch.nn.functional.cross_entropy(module(inputs), targets, weights, ignore_index=2)
        assert module.val_loss.compute().item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"class_weights": [1.0, 0.0, 2.0]},
        {"class_weights": [1.0, 0.0, 2.0], "label_smoothing": 0.1},
        {"loss_args": {"ignore_index": 1}},
    ],
)
def test_a_batch_that_counts_nothing_does_not_change_the_weights(options: dict[str, Any]) -> None:
    model = MLPClassifier(input_shape=(3,), num_classes=3, **options)
    loss = model.loss(model(torch.randn(4, 3)), torch.ones(4, dtype=torch.long))
    assert loss == 0
    loss.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("options", [{"class_weights": [1.0, 0.0, 2.0]}, {"loss_args": {"ignore_index": 1}}])
def test_a_batch_that_counts_nothing_does_not_change_the_epoch_mean(options: dict[str, Any]) -> None:
    model = MLPClassifier(input_shape=(3,), num_classes=3, **options)
    inputs, targets = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 1, 1, 1])
    with torch.no_grad():
        for part in (slice(0, 4), slice(4, 8)):
            model.validation_step((inputs[part], targets[part]), 0)
        expected = model.criterion(model(inputs), targets)
    assert model.val_loss.compute().item() == pytest.approx(expected.item(), rel=1e-5)
