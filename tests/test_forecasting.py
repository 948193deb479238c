"""Series from the command line, as a person would use them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from litnets.__main__ import main
from tests.helpers.tiny_series import waves, write_ett, write_series, write_series_folder

FIT = ["--trainer.max_epochs", "2", "--runs_dir", "runs", "--experiment", "x"]


def the_run() -> Path:
    (run,) = Path("runs", "x").iterdir()
    return run


@pytest.mark.parametrize("model", ["LinearForecaster", "MLPForecaster", "CNNForecaster", "RNNForecaster"])
def test_every_forecaster_meets_a_csv_of_ones_own(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = waves(150, 2)
    write_series(Path("own.csv"), values, ("wind", "OT"))
    data = ["--data", "SeriesCSV", "--data.path", "own.csv", "--data.look_back", "12", "--data.horizon", "3"]
    assert main(["fit", "--model", model, *data, *FIT]) == 0
    results = json.loads((the_run() / "results.json").read_text())
    assert set(results["test"]) == {"loss", "mse", "mae"}
    assert set(results["test_per_class"]) == {"wind", "OT"}
    assert main(["predict", "--config", str(the_run() / "config.yaml")]) == 0
    assert capsys.readouterr().err == ""
    with (the_run() / "predictions.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["index", *(f"{name}+{step}" for name in ("wind", "OT") for step in (1, 2, 3))]
    assert len(rows) == 30 - 3 + 1
    # The predictions are in the units of the file, and those that the test judged.
    forecast = np.array(rows, dtype=float)[:, 1:].reshape(-1, 2, 3)
    truth = np.stack([values[start : start + 3].T for start in range(120, 148)])
    for channel, name in enumerate(("wind", "OT")):
        error = np.abs(forecast - truth)[:, channel].mean()
        assert results["test_per_class"][name]["mae_in_units"] == pytest.approx(error, rel=1e-3)


def test_a_checkpoint_forecasts_another_file_in_the_scale_of_its_training() -> None:
    """As if the file had been in the training's units: its own statistics play no part."""
    write_series(Path("own.csv"), waves(150, 2), ("wind", "OT"))
    other = waves(150, 2, seed=1)
    other[:90] = 1e3  # what would be its training split
    write_series(Path("other.csv"), other, ("wind", "OT"))
    data = ["--data", "SeriesCSV", "--data.path", "own.csv", "--data.look_back", "12", "--data.horizon", "3"]
    assert main(["fit", "--model", "LinearForecaster", "--model.window_norm", "none", *data, *FIT]) == 0
    run = the_run()
    predictions = []
    for path in ("own.csv", "other.csv"):
        assert main(["predict", "--config", str(run / "config.yaml"), "--data.path", path]) == 0
        predictions.append(np.genfromtxt(run / "predictions.csv", delimiter=",", skip_header=1)[:, 1:])
    # The two files differ by noise of a tenth in the test split.
    np.testing.assert_allclose(predictions[0], predictions[1], atol=1.0)
    assert not np.array_equal(*predictions)


@pytest.mark.parametrize("model", ["RNNClassifier"])
def test_series_of_different_lengths_are_classified(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_series_folder(Path("waves"))
    assert main(["fit", "--model", model, "--data", "SeriesFolder", "--data.root", "waves", *FIT]) == 0
    assert main(["predict", "--config", str(the_run() / "config.yaml")]) == 0
    assert capsys.readouterr().err == ""
    rows = (the_run() / "predictions.csv").read_text().splitlines()
    assert rows[0] == "index,prediction,probability_fast,probability_slow"
    assert len(rows) == 1 + 5


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("RNNForecaster", ["Digits"], "RNNForecaster predicts the next steps of a series, but the targets of the data"),
        ("LinearForecaster", ["SeriesFolder", "--data.root", "waves"], "use RNNClassifier for classes"),
        ("LinearForecaster", ["ETTh1", "--data.look_back", "5000"], "the series has 1000; take fewer"),
        ("LinearForecaster", ["SeriesCSV", "--data.path", "none.csv"], "none.csv cannot be read"),
    ],
)
def test_what_cannot_be_is_said_before_training(
    model: str, data: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ett(Path("data"), monkeypatch)
    write_series_folder(Path("waves"))
    assert main(["fit", "--model", model, "--data", *data, *FIT]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 2
    assert not Path("runs").exists()
