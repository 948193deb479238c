import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MultilabelAUROC

from litnets.tasks.metrics import ClassAUROC, FastAccuracy, LabelAUROC, MeanLoss


def test_a_mean_is_weighted_as_by_torchmetrics():
    mine, theirs = MeanLoss(), MeanMetric()
    for value, weight in ((0.5, 3), (2.25, 8), (1.0, torch.tensor(0.5))):
        for metric in (mine, theirs):
            metric.update(torch.tensor(value), weight)
    assert mine.compute() == theirs.compute()
    mine.reset()
    mine.update(torch.tensor(4.0), 2)
    assert mine.compute() == 4


def test_a_loss_that_is_not_a_number_makes_the_mean_none():
    metric = MeanLoss()
    metric.update(torch.tensor(1.0), 2)
    metric.update(torch.tensor(math.nan), 2)
    assert metric.compute().isnan()


def test_hits_are_those_of_torchmetrics_accuracy():
    mine, theirs = FastAccuracy(), MulticlassAccuracy(num_classes=42, average="micro")
    for size in (7, 1, 32):
        logits, targets = torch.randn(size, 42), torch.randint(0, 42, (size,))
        logits[torch.arange(size // 2), targets[: size // 2]] += 9
        mine.update(logits, targets)
        theirs.update(logits, targets)
    assert mine.compute() == theirs.compute()
    assert 0.3 < mine.compute() < 0.7
    mine.reset()
    mine.update(torch.eye(42), torch.arange(42))
    assert mine.compute() == 1


@pytest.mark.parametrize(
    ("mine", "theirs", "flags"),
    [
        (ClassAUROC(num_classes=4), MulticlassAUROC(num_classes=4), False),
        (LabelAUROC(num_labels=4), MultilabelAUROC(num_labels=4), True),
    ],
)
def test_auroc_is_torchmetrics_own_and_keeps_few_pieces(mine, theirs, flags):
    for size in [16] * 49 + [5]:
        outputs, targets = (
            torch.rand(size, 4),
            torch.randint(0, 2, (size, 4)) if flags else torch.randint(0, 4, (size,)),
        )
        for metric in (mine, theirs):
            metric.update(outputs, targets)
    assert torch.equal(torch.cat(mine.preds), torch.cat(theirs.preds))
    assert torch.equal(torch.cat(mine.target), torch.cat(theirs.target))
    assert [len(piece) for piece in mine.preds] == [len(piece) for piece in mine.target] == [512, 256, 16, 5]
    torch.testing.assert_close(mine.compute(), theirs.compute(), rtol=1e-6, atol=0)


def test_auroc_is_the_mean_over_the_classes_that_are_there():
    """torchmetrics counts a class without a sample, or of all of them, as 0; scikit-learn's is the independent one."""
    outputs = torch.rand(30, 4).softmax(1)
    targets = torch.randint(0, 3, (30,))  # the last class is missing
    areas = [roc_auc_score(targets == i, outputs[:, i]) for i in range(3)]
    mine = ClassAUROC(num_classes=4)
    mine.update(outputs, targets)
    assert mine.compute().item() == pytest.approx(sum(areas) / 3)
    flags = torch.randint(0, 2, (30, 4))
    flags[:, 1], flags[:, 2] = 0, 1
    areas = [roc_auc_score(flags[:, i], outputs[:, i]) for i in (0, 3)]
    mine = LabelAUROC(num_labels=4)
    mine.update(outputs, flags)
    assert mine.compute().item() == pytest.approx(sum(areas) / 2)
    mine.reset()
    mine.update(outputs, torch.zeros(30, 4, dtype=torch.long))
    assert mine.compute().isnan()
