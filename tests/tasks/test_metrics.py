import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MultilabelAUROC

from litnets.tasks import Classifier
from litnets.tasks.metrics import AUROC, FastAccuracy, MeanLoss, log_odds


def test_mean_loss_matches_torchmetrics():
    metric, reference = MeanLoss(), MeanMetric()
    for value, weight in ((0.5, 3), (2.25, 8), (1.0, torch.tensor(0.5))):
        for m in (metric, reference):
            m.update(torch.tensor(value), weight)
    assert metric.compute() == reference.compute()
    metric.reset()
    metric.update(torch.tensor(4.0), 2)
    assert metric.compute() == 4


def test_a_nan_loss_makes_the_mean_nan():
    metric = MeanLoss()
    metric.update(torch.tensor(1.0), 2)
    metric.update(torch.tensor(math.nan), 2)
    assert metric.compute().isnan()


def test_fast_accuracy_matches_torchmetrics():
    metric, reference = FastAccuracy(), MulticlassAccuracy(num_classes=42, average="micro")
    for size in (7, 1, 32):
        logits, targets = torch.randn(size, 42), torch.randint(0, 42, (size,))
        logits[torch.arange(size // 2), targets[: size // 2]] += 9
        metric.update(logits, targets)
        reference.update(logits, targets)
    assert metric.compute() == reference.compute()
    assert 0.3 < metric.compute() < 0.7
    metric.reset()
    metric.update(torch.eye(42), torch.arange(42))
    assert metric.compute() == 1


@pytest.mark.parametrize("multilabel", [False, True])
def test_auroc_matches_torchmetrics_and_consolidates_its_state(multilabel):
    metric = AUROC()
    reference = MultilabelAUROC(num_labels=4) if multilabel else MulticlassAUROC(num_classes=4)
    for size in [16] * 49 + [5]:
        outputs = torch.rand(size, 4)
        targets = torch.randint(0, 2, (size, 4)) if multilabel else torch.randint(0, 4, (size,))
        metric.update(outputs, targets, outputs)
        reference.update(outputs, targets)
    assert torch.equal(torch.cat(metric.scores), torch.cat(reference.preds))
    assert torch.equal(torch.cat(metric.targets), torch.cat(reference.target))
    assert [len(piece) for piece in metric.scores] == [len(piece) for piece in metric.targets] == [512, 256, 16, 5]
    torch.testing.assert_close(metric.compute(), reference.compute(), rtol=1e-6, atol=0)


def test_auroc_with_ties_matches_scikit_learn():
    scores, targets = torch.randint(0, 5, (200, 3)).float(), torch.randint(0, 3, (200,))
    metric = AUROC()
    metric.update(scores, targets, scores)
    expected = sum(roc_auc_score(targets == i, scores[:, i]) for i in range(3)) / 3
    assert metric.compute().item() == pytest.approx(expected, rel=1e-6)


def test_log_odds_order_samples_whose_probability_rounds_to_one():
    logits = torch.tensor([[30.0, 0, -2], [31, 0, 0], [90, 0, 1], [0, 0, -60], [0, 0, -61], [1, 2, 3]])
    assert logits.softmax(1)[:3, 0].tolist() == [1, 1, 1]
    exact = logits.double().numpy()
    rest = [[np.logaddexp.reduce(np.delete(row, i)) for i in range(3)] for row in exact]
    np.testing.assert_allclose(log_odds(logits), exact - rest, rtol=1e-6, atol=1e-6)


def test_auroc_of_a_classifier_is_that_of_its_logits():
    targets = torch.arange(300) % 2
    logits = torch.stack([torch.zeros(300), 40 + 2 * torch.randn(300) + targets], 1)
    assert (logits.softmax(1)[:, 1] == 1).all()
    expected = roc_auc_score(targets, logits[:, 1])
    assert 0.55 < expected < 0.75
    for model in (Classifier(nn.Identity(), 2), Classifier(nn.Identity(), 2, loss="BCEWithLogitsLoss")):
        outputs = logits[:, 1:] if model.binary_logit else logits
        model.update_metrics(model.test_metrics, outputs, targets)
        assert model.test_metrics["auroc"].compute().item() == pytest.approx(expected, rel=1e-6)


def test_auroc_is_the_mean_over_classes_with_both_outcomes():
    """torchmetrics counts a class with no or only positive samples as 0, so the reference is scikit-learn."""
    outputs = torch.rand(30, 4).softmax(1)
    targets = torch.randint(0, 3, (30,))  # the last class is missing
    areas = [roc_auc_score(targets == i, outputs[:, i]) for i in range(3)]
    metric = AUROC()
    metric.update(outputs, targets, outputs)
    assert metric.compute().item() == pytest.approx(sum(areas) / 3)
    targets = torch.randint(0, 2, (30, 4))
    targets[:, 1], targets[:, 2] = 0, 1
    areas = [roc_auc_score(targets[:, i], outputs[:, i]) for i in (0, 3)]
    metric = AUROC()
    metric.update(outputs, targets, outputs)
    assert metric.compute().item() == pytest.approx(sum(areas) / 2)
    metric.reset()
    metric.update(outputs, torch.zeros(30, 4, dtype=torch.long), outputs)
    assert metric.compute().isnan()
