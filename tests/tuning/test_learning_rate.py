import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from litnets.tuning.learning_rate import Curve, RaiseLearningRate, Suggestion, smooth, to_csv

RATES = [10 ** (-6 + step / 10) for step in range(61)]


def curve(loss: Callable[[float], float], seed: int = 0) -> Curve:
    return Curve(seed, RATES, [loss(rate) for rate in RATES])


def valley(best: float) -> Callable[[float], float]:
    """A loss that is lowest at a learning rate."""
    return lambda rate: 1 + abs(math.log10(rate / best)) ** 2


def test_the_suggestion_is_a_tenth_of_the_best_rate_with_its_spread() -> None:
    suggestion = Suggestion.of([curve(valley(best), seed) for seed, best in enumerate((1e-3, 2e-3, 4e-3))])
    assert suggestion.rate is not None
    assert suggestion.rate == pytest.approx(2e-4, rel=0.1)
    assert suggestion.low < suggestion.rate < suggestion.high
    assert suggestion.describe().startswith(f"suggestion: --model.lr {suggestion.rate:g} (")
    assert "disagree" not in suggestion.describe()
    assert "the seeds disagree" in Suggestion.of([curve(valley(best)) for best in (1e-5, 1e-2)]).describe()


def test_without_a_fall_there_is_no_suggestion() -> None:
    flat = Suggestion.of([curve(lambda rate: 1.0 + 0.01 * math.sin(1e9 * rate)) for _ in range(3)])
    assert flat.describe() == "flat: the learning rate does not matter here"
    rising = Suggestion.of([curve(lambda rate: 1 + rate)] * 3)
    assert rising.rate is None
    assert "no learning rate lowers the loss" in rising.describe()
    assert Suggestion.of([curve(valley(1e-3)), curve(lambda rate: 1.0), curve(lambda rate: 1.0)]).rate is None


def test_a_loss_that_is_not_finite_ends_a_curve() -> None:
    losses = [1.0, 0.9, 0.5, math.nan]
    broken = Curve(0, RATES[:4], losses)
    assert broken.suggestion == pytest.approx(RATES[2] / 10)
    assert broken.rise == math.inf


def test_smoothing_does_not_shift_a_curve() -> None:
    noisy = [abs(step - 50) + 10 * (-1) ** step for step in range(101)]
    smoothed = smooth(noisy)
    assert smoothed.index(min(smoothed)) == 50
    assert max(abs(a - b) for a, b in pairwise(smoothed)) < 1.2
    assert smooth([1.0, 1.0, math.nan])[:2] == [1.0, 1.0]


def test_csv() -> None:
    rows = to_csv([Curve(7, [0.1, 0.2], [2.0, 1.0])]).splitlines()
    assert rows[0] == "seed,step,lr,loss,smoothed"
    assert rows[1].startswith("7,1,0.1,2.0,1.88")
    assert len(rows) == 3


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_learning_rate_rises_in_every_step(accumulated: int) -> None:
    class Recording(BoringModel):
        rates: list[float] = []  # noqa: RUF012

        def optimizer_step(self, epoch, batch_idx, optimizer, closure):  # type: ignore[no-untyped-def]
            self.rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step(closure)

    model, test = Recording(), RaiseLearningRate(1e-6, 1e-2, 5)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(
        max_steps=5, max_epochs=-1, limit_val_batches=0, callbacks=[test], enable_model_summary=False,
        accumulate_grad_batches=accumulated, **options,
    )  # fmt: skip
    trainer.fit(model, BoringDataModule())
    assert model.rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
    assert len(test.losses) == 5
