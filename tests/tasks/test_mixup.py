import random

import numpy as np
import pytest
import torch
from lightning import seed_everything
from torch import nn

from litnets.errors import InputError
from litnets.seeding import seed_batch
from litnets.tasks import Classifier, CNNClassifier, MLPClassifier, RNNClassifier
from litnets.tasks.mixup import Mixing

IMAGE = (2, 6, 8)


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)


def images(n: int = 16) -> torch.Tensor:
    """Images whose pixel values are all different."""
    return torch.arange(n * 96).view(n, *IMAGE).float()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_blends_each_sample_with_another(alpha: float) -> None:
    weights = []
    for _ in range(200):
        mixed, partners, weight = Mixing(alpha, 0, IMAGE)(images())
        assert sorted(partners.tolist()) == list(range(16))
        torch.testing.assert_close(mixed, weight * images() + (1 - weight) * images()[partners], rtol=1e-4, atol=1e-3)
        weights.append(weight)
    # Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2a + 1)).
    assert abs(np.mean(weights) - 0.5) < 0.15
    assert np.var(weights) == pytest.approx(0.25 / (2 * alpha + 1), rel=0.35)


def test_cutmix_pastes_a_rectangle_of_another_image() -> None:
    weights = []
    for _ in range(200):
        mixed, partners, weight = Mixing(0, 1.0, IMAGE)(images())
        from_self = mixed == images()
        from_other = mixed == images()[partners]
        assert (from_self | from_other).all()
        inside = ~from_self[(partners != torch.arange(16)).nonzero()[0, 0], 0].numpy()  # (6, 8)
        rows, columns = inside.any(1), inside.any(0)
        assert np.array_equal(inside, np.outer(rows, columns))
        for line in (rows, columns):
            assert (np.diff(np.flatnonzero(line)) == 1).all()
        assert weight == pytest.approx(1 - inside.mean())
        weights.append(weight)
    assert 0.6 < np.mean(weights) < 0.85, "half of the area, minus what the border cuts off"


def test_with_both_enabled_each_batch_gets_one_of_them() -> None:
    kinds = set()
    for _ in range(40):
        mixed, _, _ = Mixing(1.0, 1.0, IMAGE)(images())
        kinds.add(bool((mixed == mixed.round()).all()))
    assert kinds == {True, False}


def test_the_input_batch_is_not_modified() -> None:
    for mixing in (Mixing(1, 0, IMAGE), Mixing(0, 1, IMAGE)):
        batch = images()
        mixing(batch)
        assert torch.equal(batch, images())


@pytest.mark.parametrize("kwargs", [{}, {"class_weights": [1.0, 3.0]}, {"loss": "BCEWithLogitsLoss"}])
def test_the_loss_is_mixed_like_the_inputs(kwargs: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    num_outputs = 1 if "loss" in kwargs else 2
    model = Classifier(nn.Linear(3, num_outputs), 2, mixup=0.4, **kwargs)
    x, targets = torch.randn(8, 3), torch.arange(8) % 2
    partners = torch.tensor([1, 2, 3, 4, 5, 6, 7, 0])
    monkeypatch.setattr(model, "mixing", lambda x: (0.7 * x + 0.3 * x[partners], partners, 0.7))
    outputs, loss = model.training_forward(x, targets)
    torch.testing.assert_close(outputs, model(0.7 * x + 0.3 * x[partners]))
    torch.testing.assert_close(loss, 0.7 * model.loss(outputs, targets) + 0.3 * model.loss(outputs, targets[partners]))


def test_mixup_loss_equals_cross_entropy_with_soft_targets() -> None:
    """The loss equals that of blended targets, as in Zhang et al. (2018)."""
    model = Classifier(nn.Linear(3, 4), 4, mixup=0.4)
    x, targets = torch.randn(8, 3), torch.arange(8) % 4
    seed_everything(1, verbose=False)
    _, partners, weight = model.mixing(x)
    seed_everything(1, verbose=False)
    outputs, loss = model.training_forward(x, targets)
    hot = nn.functional.one_hot(targets, 4).float()
    torch.testing.assert_close(loss, nn.functional.cross_entropy(outputs, weight * hot + (1 - weight) * hot[partners]))


def test_mixing_is_off_by_default() -> None:
    model = MLPClassifier(input_shape=(3,), num_classes=2)
    x, targets = torch.randn(8, 3), torch.arange(8) % 2
    outputs, loss = model.training_forward(x, targets)
    assert torch.equal(outputs, model(x))
    assert torch.equal(loss, model.loss(outputs, targets))


@pytest.mark.parametrize(
    ("task", "shape", "kwargs", "message"),
    [
        (CNNClassifier, IMAGE, {"mixup": -1.0}, "mixup: expected at least 0, got -1"),
        (MLPClassifier, (5,), {"cutmix": 1.0}, r"cutmix: is for images .*but one input of the data is \(5\)"),
        (RNNClassifier, (None, 5), {"mixup": 1.0}, r"mixup: needs inputs of one size, .* the data is \(any, 5\)"),
        (RNNClassifier, (None, 5), {"cutmix": 1.0}, r"cutmix: needs inputs of one size"),
    ],
)
def test_inputs_that_cannot_be_mixed_raise(task, shape, kwargs, message) -> None:
    with pytest.raises(InputError, match=message):
        task(input_shape=shape, num_classes=3, **kwargs)


def test_mixing_follows_the_batch_seed_at_any_precision() -> None:
    def mix(seed: int) -> torch.Tensor:
        seed_batch(seed, 0, 0, part=1)
        return Mixing(0.4, 1.0, IMAGE)(images())[0]

    assert torch.equal(mix(3), mix(3))
    assert not torch.equal(mix(3), mix(4))
    torch.set_default_dtype(torch.bfloat16)  # what Lightning does for bf16-true
    try:
        assert mix(3).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
