"""litnets' modules with Lightning's own Trainer, as in any other project."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

import litnets
from tests.helpers.tiny_text import rows, write_texts


def digits() -> tuple[LightningModule, LightningDataModule]:
    data = litnets.Digits(augment=[litnets.RandomShift(1)])
    return litnets.CNNClassifier(data.input_shape, num_classes=10, widths=[4], lr_scheduler="OneCycleLR"), data


def diabetes() -> tuple[LightningModule, LightningDataModule]:
    data = litnets.Diabetes()
    scale = {"target_mean": data.target_mean, "target_std": data.target_std}
    return litnets.MLPRegressor(data.input_shape, num_targets=1, lr_scheduler="ReduceLROnPlateau", **scale), data


def texts() -> tuple[LightningModule, LightningDataModule]:
    write_texts(Path("texts.csv"), rows(40))
    data = litnets.TextFiles("texts.csv")
    data.setup()
    sizes: dict[str, Any] = {"vocab_size": data.vocab_size, "num_classes": data.num_classes}
    return litnets.RNNClassifier(data.input_shape, hidden_size=4, **sizes), data


@pytest.mark.parametrize("build", [digits, diabetes, texts])
def test_no_warning_comes_up(build: Any) -> None:
    """pytest replaces the filters for each test, so that those of litnets are installed again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(litnets)
        model, data = build()
        trainer = Trainer(
            accelerator="cpu", max_epochs=2, log_every_n_steps=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[litnets.EMA(0.9), litnets.Lookahead()],
        )  # fmt: skip
        trainer.fit(model, data)
        (metrics,) = trainer.test(ckpt_path="best", datamodule=data, weights_only=True, verbose=False)
        predictions: Any = trainer.predict(model, data)
    assert metrics["test/loss"] > 0
    assert "prediction" in predictions[0]
