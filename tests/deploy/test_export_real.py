"""Exports decide every sample of the real test splits as the network does, after a training of ten batches."""

import json
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.deploy import certificate
from tests.conftest import CONFIGS

pytest.importorskip("onnxscript", reason="needs the extra export")

CNN1D = ["--model", "CNN1dClassifier"]
TRANSFORMER = ["--model", "TransformerClassifier", "--model.hidden_size", "32"]
RESNET = ["--model", "ResNetClassifier", "--data", "Digits"]  # the 10,000 images of Fashion-MNIST take too long
ATTENTION = ["--model", "RNNClassifier", "--model.hidden_size", "32", "--model.pooling", "attention", "--model.cell"]


def shipped(name: str) -> list[str]:
    return ["--config", str(CONFIGS / f"{name}.yaml"), "--trainer.precision", "32-true"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "data", "samples"),
    [
        pytest.param(CNN1D, "SpokenDigits", 300, id="spoken_cnn1d"),
        pytest.param(TRANSFORMER, "SpokenDigits", 300, id="spoken_transformer"),
        pytest.param(TRANSFORMER, "Names", 2005, id="names_transformer"),
        pytest.param([*ATTENTION, "rnn"], "Names", 2005, id="names_rnn_attention"),
        pytest.param([*ATTENTION, "lstm"], "Names", 2005, id="names_lstm_attention"),
        pytest.param(RESNET, None, 360, id="digits_resnet"),
        pytest.param([*shipped("shapes_unet"), "--model.widths", "[8,16]"], None, 560, id="shapes_unet"),
        pytest.param(shipped("etth1_linear"), "ETTh1", 2785, id="etth1_linear"),
        pytest.param(shipped("digits_mlp"), None, 360, id="digits_mlp"),
        pytest.param(shipped("digits_cnn"), None, 360, id="digits_cnn"),
        pytest.param(shipped("digits_rnn"), None, 360, id="digits_rnn"),
    ],
)
def test_no_decision_differs_on_the_real_test_split(
    options: list[str], data: str | None, samples: int, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "SECONDS_PER_BATCH_SIZE", 0.0)
    if data is not None:
        options = [*options, *([] if "--config" in options else ["--data", data]), "--data.data_dir", str(real_data)]
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "10", "--experiment", "real"]
    assert main(["fit", *options, *short]) == 0
    assert main(["export", "real"]) == 0
    (path,) = Path("checkpoints", "real").glob("*/export/certificate.json")
    certified = json.loads(path.read_text())
    assert (certified["passed"], certified["flips"]) == (True, 0)
    assert certified["samples"] == pytest.approx(samples, abs=60)
