import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MultilabelAUROC

from litnets.tasks.metrics import ClassAUROC, FastAccuracy, LabelAUROC, MeanLoss


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


@pytest.mark.parametrize(
    ("metric", "reference", "multilabel"),
    [
        (ClassAUROC(num_classes=4), MulticlassAUROC(num_classes=4), False),
        (LabelAUROC(num_labels=4), MultilabelAUROC(num_labels=4), True),
    ],
)
def test_auroc_matches_torchmetrics_and_consolidates_its_state(metric, reference, multilabel):
    for size in [16] * 49 + [5]:
        outputs, targets = (
            torch.rand(size, 4),
            torch.randint(0, 2, (size, 4)) if multilabel else torch.randint(0, 4, (size,)),
        )
        for m in (metric, reference):
            m.update(outputs, targets)
    assert torch.equal(torch.cat(metric.preds), torch.cat(reference.preds))
    assert torch.equal(torch.cat(metric.target), torch.cat(reference.target))
    assert [len(piece) for piece in metric.preds] == [len(piece) for piece in metric.target] == [512, 256, 16, 5]
    torch.testing.assert_close(metric.compute(), reference.compute(), rtol=1e-6, atol=0)


def test_auroc_is_the_mean_over_classes_with_both_outcomes():
    """torchmetrics counts a class with no or only positive samples as 0, so the reference is scikit-learn."""
    outputs = torch.rand(30, 4).softmax(1)
    targets = torch.randint(0, 3, (30,))  # the last class is missing
    areas = [roc_auc_score(targets == i, outputs[:, i]) for i in range(3)]
    metric = ClassAUROC(num_classes=4)
    metric.update(outputs, targets)
    assert metric.compute().item() == pytest.approx(sum(areas) / 3)
    targets = torch.randint(0, 2, (30, 4))
    targets[:, 1], targets[:, 2] = 0, 1
    areas = [roc_auc_score(targets[:, i], outputs[:, i]) for i in (0, 3)]
    metric = LabelAUROC(num_labels=4)
    metric.update(outputs, targets)
    assert metric.compute().item() == pytest.approx(sum(areas) / 2)
    metric.reset()
    metric.update(outputs, torch.zeros(30, 4, dtype=torch.long))
    assert metric.compute().isnan()
