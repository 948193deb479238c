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
    """No two pixels alike."""
    return torch.arange(n * 96).view(n, *IMAGE).float()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_blends_each_with_another(alpha: float) -> None:
    shares = []
    for _ in range(200):
        mixed, others, share = Mixing(alpha, 0, IMAGE)(images())
        assert sorted(others.tolist()) == list(range(16))
        torch.testing.assert_close(mixed, share * images() + (1 - share) * images()[others], rtol=1e-4, atol=1e-3)
        shares.append(share)
    # Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2a + 1)).
    assert abs(np.mean(shares) - 0.5) < 0.15
    assert np.var(shares) == pytest.approx(0.25 / (2 * alpha + 1), rel=0.35)


def test_cutmix_puts_in_a_rectangle_of_another() -> None:
    shares = []
    for _ in range(200):
        mixed, others, share = Mixing(0, 1.0, IMAGE)(images())
        own = mixed == images()
        alien = mixed == images()[others]
        assert (own | alien).all()
        inside = ~own[(others != torch.arange(16)).nonzero()[0, 0], 0].numpy()  # (6, 8)
        rows, columns = inside.any(1), inside.any(0)
        assert np.array_equal(inside, np.outer(rows, columns))
        for line in (rows, columns):
            assert (np.diff(np.flatnonzero(line)) == 1).all()
        assert share == pytest.approx(1 - inside.mean())
        shares.append(share)
    assert 0.6 < np.mean(shares) < 0.85, "a half, and what is cut off at the border"


def test_with_both_each_batch_gets_one() -> None:
    kinds = set()
    for _ in range(40):
        mixed, _, _ = Mixing(1.0, 1.0, IMAGE)(images())
        kinds.add(bool((mixed == mixed.round()).all()))
    assert kinds == {True, False}


def test_the_given_batch_is_left_as_it_was() -> None:
    for mixing in (Mixing(1, 0, IMAGE), Mixing(0, 1, IMAGE)):
        batch = images()
        mixing(batch)
        assert torch.equal(batch, images())


@pytest.mark.parametrize("given", [{}, {"class_weights": [1.0, 3.0]}, {"loss": "BCEWithLogitsLoss"}])
def test_the_loss_is_mixed_as_the_inputs_are(given: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    outs = 1 if "loss" in given else 2
    model = Classifier(nn.Linear(3, outs), 2, mixup=0.4, **given)
    x, targets = torch.randn(8, 3), torch.arange(8) % 2
    others = torch.tensor([1, 2, 3, 4, 5, 6, 7, 0])
    monkeypatch.setattr(model, "mixing", lambda x: (0.7 * x + 0.3 * x[others], others, 0.7))
    outputs, loss = model.training_forward(x, targets)
    torch.testing.assert_close(outputs, model(0.7 * x + 0.3 * x[others]))
    torch.testing.assert_close(loss, 0.7 * model.loss(outputs, targets) + 0.3 * model.loss(outputs, targets[others]))


def test_cross_entropy_of_a_mixture_is_that_of_soft_targets() -> None:
    """What Zhang et al. 2018 write: the targets blended."""
    model = Classifier(nn.Linear(3, 4), 4, mixup=0.4)
    x, targets = torch.randn(8, 3), torch.arange(8) % 4
    seed_everything(1, verbose=False)
    _, others, share = model.mixing(x)
    seed_everything(1, verbose=False)
    outputs, loss = model.training_forward(x, targets)
    hot = nn.functional.one_hot(targets, 4).float()
    torch.testing.assert_close(loss, nn.functional.cross_entropy(outputs, share * hot + (1 - share) * hot[others]))


def test_nothing_is_mixed_unless_told() -> None:
    model = MLPClassifier(input_shape=(3,), num_classes=2)
    x, targets = torch.randn(8, 3), torch.arange(8) % 2
    outputs, loss = model.training_forward(x, targets)
    assert torch.equal(outputs, model(x))
    assert torch.equal(loss, model.loss(outputs, targets))


@pytest.mark.parametrize(
    ("task", "shape", "given", "message"),
    [
        (CNNClassifier, IMAGE, {"mixup": -1.0}, "mixup: expected at least 0, got -1"),
        (MLPClassifier, (5,), {"cutmix": 1.0}, r"cutmix: is for images .*but one input of the data is \(5\)"),
        (RNNClassifier, (None, 5), {"mixup": 1.0}, r"mixup: needs inputs of one size, .* the data is \(any, 5\)"),
        (RNNClassifier, (None, 5), {"cutmix": 1.0}, r"cutmix: needs inputs of one size"),
    ],
)
def test_what_cannot_be_mixed_is_refused(task, shape, given, message) -> None:
    with pytest.raises(InputError, match=message):
        task(input_shape=shape, num_classes=3, **given)


def test_a_batch_is_mixed_by_its_seed_in_any_precision() -> None:
    def draw(seed: int) -> torch.Tensor:
        seed_batch(seed, 0, 0, part=1)
        return Mixing(0.4, 1.0, IMAGE)(images())[0]

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    torch.set_default_dtype(torch.bfloat16)  # what Lightning does for bf16-true
    try:
        assert draw(3).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
