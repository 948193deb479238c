import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.nets import UNet
from litnets.tasks import CNNRegressor, Segmenter, UNetSegmenter
from litnets.tasks.losses import CrossEntropyDiceLoss, dice_loss

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

LOSSES = ["cross_entropy", "dice", "cross_entropy+dice"]


class SquaredError(nn.Module):
    """A user-defined loss."""

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs.softmax(1) - nn.functional.one_hot(targets, outputs.shape[1])).square().mean()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def identity(**arguments):
    """Return a task whose images are their own logits."""
    return Segmenter(nn.Identity(), **{"num_classes": 3, "ignore_index": 255, **arguments})


def random_batch(size=20):
    """Return logits of 3 classes for pictures of 6x7 pixels, and masks with ignored pixels."""
    masks = torch.randint(3, (size, 6, 7))
    masks[torch.rand(masks.shape) < 0.2] = 255
    return torch.randn(size, 3, 6, 7), masks


def quiet_trainer(**arguments):
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", logger=False, **quiet, **arguments)


def run_test(model, images, masks, batch_size):
    loader = DataLoader(TensorDataset(images, masks), batch_size=batch_size)
    (metrics,) = quiet_trainer().test(model, loader, verbose=False)
    return metrics


def numpy_scores(predictions, masks, num_classes):
    """Return IoU and Dice of each class over all pixels, computed from sets of pixels."""
    counted = masks != 255
    iou, dice = [], []
    for c in range(num_classes):
        p, t = (predictions == c) & counted, (masks == c) & counted
        union = np.logical_or(p, t).sum()
        iou.append(np.logical_and(p, t).sum() / union if union else np.nan)
        dice.append(2 * np.logical_and(p, t).sum() / (p.sum() + t.sum()) if union else np.nan)
    return np.array(iou), np.array(dice)


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_metrics_are_those_of_all_pixels_of_the_split(batch_size):
    images, masks = random_batch()
    images[:10, 0] += 2  # the first batches differ from the others, so that a mean over batches would differ as well
    metrics = run_test(identity(), images, masks, batch_size)
    predictions = images.argmax(1).numpy()
    iou, dice = numpy_scores(predictions, masks.numpy(), 3)
    assert metrics["test/iou"] == pytest.approx(iou.mean())
    assert metrics["test/dice"] == pytest.approx(dice.mean())
    counted = masks.numpy() != 255
    assert metrics["test/accuracy"] == pytest.approx((predictions == masks.numpy())[counted].mean())
    for c in range(3):
        assert metrics[f"test/iou/{c}"] == pytest.approx(iou[c])
        assert metrics[f"test/dice/{c}"] == pytest.approx(dice[c])


def test_scores_of_a_worked_example():
    """Class 0 has 3 pixels, 2 of them found, and 1 wrong prediction: IoU 2/4, Dice 4/6. The last pixel is ignored."""
    mask = torch.tensor([[[0, 0, 0, 1, 1, 255]]])
    prediction = torch.tensor([[[0, 0, 1, 1, 0, 0]]])
    images = nn.functional.one_hot(prediction, 2).movedim(-1, 1).float()
    metrics = run_test(identity(num_classes=2, class_names=["ground", "tree"]), images, mask, 1)
    assert metrics["test/iou/ground"] == pytest.approx(2 / 4)
    assert metrics["test/iou/tree"] == pytest.approx(1 / 3)
    assert metrics["test/dice/ground"] == pytest.approx(4 / 6)
    assert metrics["test/dice/tree"] == pytest.approx(2 / 4)
    assert metrics["test/accuracy"] == pytest.approx(3 / 5)


def test_a_class_in_neither_targets_nor_predictions_does_not_count():
    images, masks = random_batch()
    images[:, 2] = -9  # never predicted
    masks[masks == 2] = 255
    metrics = run_test(identity(), images, masks, 4)
    iou, dice = numpy_scores(images.argmax(1).numpy(), masks.numpy(), 3)
    assert metrics["test/iou"] == pytest.approx(np.nanmean(iou))
    assert metrics["test/dice"] == pytest.approx(np.nanmean(dice))
    assert math.isnan(metrics["test/iou/2"])
    assert math.isnan(metrics["test/dice/2"])


def test_a_predicted_class_without_targets_counts_as_zero():
    images, masks = random_batch()
    masks[masks == 2] = 0
    metrics = run_test(identity(), images, masks, 4)
    iou, _ = numpy_scores(images.argmax(1).numpy(), masks.numpy(), 3)
    assert iou[2] == metrics["test/iou/2"] == 0
    assert metrics["test/iou"] == pytest.approx(iou.mean())


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_the_test_loss_is_the_mean_over_all_counted_pixels(weights):
    images, masks = random_batch()
    masks[:5] = 255  # a batch in which nothing counts
    metrics = run_test(identity(class_weights=weights), images, masks, 5)
    weight = None if weights is None else torch.tensor(weights)
    expected = nn.functional.cross_entropy(images, masks, weight, ignore_index=255)
    assert metrics["test/loss"] == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("loss", "weights"),
    [*((loss, weights) for loss in LOSSES for weights in (None, [0.0, 1.0, 1.0])), (f"{__name__}.SquaredError", None)],
)
def test_gradients_are_finite_if_nothing_counts(loss, weights):
    model = Segmenter(UNet(3, 3, widths=(4, 4)), 3, 255, loss=loss, class_weights=weights)
    masks = torch.full((2, 8, 8), 255)
    if weights is not None:
        masks[0] = 0  # only pixels of the class with weight 0
    value = model.loss(model(torch.randn(2, 3, 8, 8)), masks)
    value.backward()
    assert value == 0
    assert all(p.grad is not None and (p.grad == 0).all() for p in model.parameters())


@pytest.mark.parametrize("loss", [*LOSSES, f"{__name__}.SquaredError"])
def test_ignored_pixels_do_not_change_the_loss(loss):
    model = identity(loss=loss)
    images, masks = random_batch()
    before = model.loss(images, masks)
    images = torch.where((masks == 255).unsqueeze(1), torch.randn_like(images), images)
    torch.testing.assert_close(model.loss(images, masks), before)


def test_dice_loss_of_a_worked_example():
    """Class 0: probabilities 0.5 and 0.8, the second on a target: 1 - 2 * 0.8 / (1.3 + 1). Class 2 has no target."""
    probabilities = torch.tensor([[0.5, 0.4, 0.1], [0.8, 0.1, 0.1]])
    targets = torch.tensor([1, 0])
    dice = torch.tensor([2 * 0.8 / (1.3 + 1), 2 * 0.4 / (0.5 + 1)])
    torch.testing.assert_close(dice_loss(probabilities.log(), targets), 1 - dice.mean())
    weighted = dice_loss(probabilities.log(), targets, torch.tensor([3.0, 1.0, 9.0]))
    torch.testing.assert_close(weighted, 1 - (3 * dice[0] + dice[1]) / 4)
    both = CrossEntropyDiceLoss(label_smoothing=0.1, dice_weight=0.5)(probabilities.log(), targets)
    entropy = nn.functional.cross_entropy(probabilities.log(), targets, label_smoothing=0.1)
    torch.testing.assert_close(both, entropy + 0.5 * (1 - dice.mean()))


def test_a_perfect_prediction_has_a_dice_loss_of_zero():
    targets = torch.tensor([0, 1, 2, 1])
    assert dice_loss(100.0 * nn.functional.one_hot(targets), targets).item() == pytest.approx(0, abs=1e-6)


def test_balanced_weights_come_from_the_pixels():
    model = identity(class_weights="balanced", class_counts=[60, 30, 0])
    torch.testing.assert_close(model.criterion.weight, torch.tensor([0.5, 1.0, 30.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"loss": "CrossEntropyLoss"},
            r"loss: 'CrossEntropyLoss' .*what fits: cross_entropy, dice, cross_entropy\+dice",
        ),
        ({"loss": "cross_entropi"}, "did you mean 'cross_entropy'"),
        ({"loss": "cross_entropy+dice", "loss_args": {"dice_wait": 2}}, "loss_args: .* takes no 'dice_wait'"),
        ({"loss": "dice", "label_smoothing": 0.1}, "DiceLoss takes no 'label_smoothing'"),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected a fraction in \[0, 1\), got 1.0"),
        ({"class_weights": [1.0]}, "class_weights: expected 3 numbers, one per class, got 1"),
        ({"class_weights": "balanced"}, "class_weights: balanced needs"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        identity(**arguments)


def test_data_without_masks_are_refused_with_a_suggestion():
    message = (
        r"^UNetSegmenter predicts masks, but the targets .*: use \w+Classifier for classes or \w+Regressor for numbers$"
    )
    for arguments in ({"num_classes": 3, "ignore_index": None}, {"num_classes": None, "ignore_index": None}):
        with pytest.raises(InputError, match=message):
            UNetSegmenter((3, 8, 8), **arguments)
    with pytest.raises(InputError, match=r"^CNNRegressor predicts numbers, .* UNetSegmenter for masks$"):
        CNNRegressor((3, 8, 8), num_targets=None)
    with pytest.raises(InputError, match=r"^UNetSegmenter reads images"):
        UNetSegmenter((64,), num_classes=3, ignore_index=255)


def test_predictions_are_classes_and_probabilities_of_pixels():
    images, masks = random_batch()
    model = identity().eval()
    for batch in (images, (images, masks)):
        columns = model.predict_step(batch, 0)
        assert torch.equal(columns["prediction"], images.argmax(1))
        torch.testing.assert_close(columns["probability"], images.softmax(1))


def test_mirror_averages_the_logits_of_the_image_and_its_mirror_image():
    net = UNet(3, 3, widths=(4, 4))
    model, plain = (Segmenter(net, 3, 255, tta=tta).eval() for tta in ("mirror", "one"))
    images = torch.randn(2, 3, 5, 6)
    expected = (net(images) + net(images.flip(3)).flip(3)) / 2
    torch.testing.assert_close(model.predict_step(images, 0)["probability"], expected.softmax(1))
    torch.testing.assert_close(plain.predict_step(images, 0)["probability"], net(images).softmax(1))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_trains_in_any_precision(precision):
    images, masks = random_batch()
    model = Segmenter(UNet(3, 3, widths=(4, 4)), 3, 255, loss="cross_entropy+dice", class_weights=[1.0, 2.0, 1.0])
    loader = DataLoader(TensorDataset(images, masks), batch_size=10)
    trainer = quiet_trainer(max_epochs=1, precision=precision)
    trainer.fit(model, loader, loader)
    assert {
        "train/loss",
        "train/iou",
        "val/loss",
        "val/iou",
        "val/dice",
        "val/accuracy",
    } <= trainer.logged_metrics.keys()
    assert all(value.isfinite() for value in trainer.logged_metrics.values())
