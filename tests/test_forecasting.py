"""Time series from the command line: fit, test and predict."""

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from litnets.__main__ import main
from tests.helpers.tiny_series import waves, write_ett, write_series, write_series_folder

FIT = ["--trainer.max_epochs", "2", "--runs_dir", "runs", "--experiment", "x"]


def single_run() -> Path:
    (run,) = Path("runs", "x").iterdir()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("model", ["LinearForecaster", "MLPForecaster", "CNNForecaster", "RNNForecaster"])
def test_every_forecaster_fits_a_csv_file(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = waves(150, 2)
    write_series(Path("series.csv"), values, ("wind", "OT"))
    data = ["--data", "SeriesCSV", "--data.path", "series.csv", "--data.look_back", "12", "--data.horizon", "3"]
    assert main(["fit", "--model", model, *data, *FIT]) == 0
    results = json.loads((single_run() / "results.json").read_text())
    assert set(results["test"]) == {"loss", "mse", "mae"}
    assert set(results["test_per_channel"]) == {"wind", "OT"}
    assert main(["predict", "--config", str(single_run() / "config.yaml")]) == 0
    assert capsys.readouterr().err == ""
    with (single_run() / "predictions.csv").open() as file:
        header, *rows = csv.reader(file)
    columns = [f"{name}_{channel}" for name in ("target", "prediction", "lower", "upper") for channel in ("wind", "OT")]
    assert header == ["index", "step", "time", *columns]
    assert len(rows) == 3 * (30 - 3 + 1)
    steps = [start + step for start in range(120, 148) for step in range(3)]
    assert [row[2] for row in rows] == [str(datetime(2016, 7, 1) + timedelta(hours=step)) for step in steps]
    # The predictions are in the units of the file, and they reproduce the test metrics.
    table = np.array([row[3:] for row in rows], dtype=float)
    np.testing.assert_allclose(table[:, :2], values[steps], rtol=1e-5)
    for channel, name in enumerate(("wind", "OT")):
        error = np.abs(table[:, 2 + channel] - table[:, channel]).mean()
        assert results["test_per_channel"][name]["mae_in_units"] == pytest.approx(error, rel=1e-3)


@pytest.mark.slow
def test_a_checkpoint_scales_another_file_as_in_training() -> None:
    """The statistics of the other file must not be used."""
    write_series(Path("series.csv"), waves(150, 2), ("wind", "OT"))
    other = waves(150, 2, seed=1)
    other[:90] = 1e3  # its training split
    write_series(Path("other.csv"), other, ("wind", "OT"))
    data = ["--data", "SeriesCSV", "--data.path", "series.csv", "--data.look_back", "12", "--data.horizon", "3"]
    assert main(["fit", "--model", "LinearForecaster", "--model.window_norm", "none", *data, *FIT]) == 0
    run = single_run()
    predictions = []
    for path in ("series.csv", "other.csv"):
        output = f"{path}.predictions"
        assert main(["predict", str(run), "--data.path", path, "--output", output]) == 0
        predictions.append(np.genfromtxt(output, delimiter=",", skip_header=1, usecols=(5, 6)))
    # In the test split, the two files differ by noise with a standard deviation of about 0.1.
    np.testing.assert_allclose(predictions[0], predictions[1], atol=1.0)
    assert not np.array_equal(*predictions)


@pytest.mark.parametrize("model", ["RNNClassifier"])
def test_series_of_different_lengths_are_classified(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_series_folder(Path("waves"))
    assert main(["fit", "--model", model, "--data", "SeriesFolder", "--data.root", "waves", *FIT]) == 0
    assert main(["predict", "--config", str(single_run() / "config.yaml")]) == 0
    assert capsys.readouterr().err == ""
    rows = (single_run() / "predictions.csv").read_text().splitlines()
    assert rows[0] == "index,file,target,prediction,probability,probability_fast,probability_slow"
    assert len(rows) == 1 + 5


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("RNNForecaster", ["Digits"], "RNNForecaster predicts the next steps of a series, but the targets of the data"),
        ("LinearForecaster", ["SeriesFolder", "--data.root", "waves"], "use RNNClassifier for classes"),
        ("LinearForecaster", ["ETTh1", "--data.look_back", "5000"], "but the series has 1000; choose smaller ones"),
        ("LinearForecaster", ["SeriesCSV", "--data.path", "none.csv"], "none.csv: cannot be read"),
    ],
)
def test_unsuitable_options_are_refused_before_training(
    model: str, data: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ett(Path("data"), monkeypatch)
    write_series_folder(Path("waves"))
    assert main(["fit", "--model", model, "--data", *data, *FIT]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 2
    assert not Path("runs").exists()
