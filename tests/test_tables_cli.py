"""Tables from the command line: every target type, new files, and unsuitable models."""

import csv
import json
from pathlib import Path

import pytest

from litnets.__main__ import main
from tests.helpers.tiny_tables import HEADER, table_rows, write_csv

QUICK = ["--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false"]
CSV = ["--data", "TableCSV", "--data.path", "table.csv"]


def fit(*options: str) -> Path:
    assert main(["fit", *options, *QUICK]) == 0
    (run,) = Path("checkpoints").glob("*/*")
    assert main(["test", "--config", str(run / "config.yaml"), *QUICK]) == 0
    assert main(["predict", "--config", str(run / "config.yaml"), *QUICK]) == 0
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "target", "loss", "header", "metric"),
    [
        (
            "MLPClassifier",
            "bought",
            "BCEWithLogitsLoss",
            "target,prediction,set,probability,probability_no,probability_yes",
            "f1",
        ),
        (
            "MLPClassifier",
            "[red,round]",
            "BCEWithLogitsLoss",
            "target_red,target_round,prediction_red,prediction_round,set,probability_red,probability_round",
            "auroc",
        ),
        ("MLPRegressor", "price", "HuberLoss", "target,prediction,lower,upper", "r2"),
        (
            "MLPRegressor",
            "[price,income]",
            "MSELoss",
            "target_price,target_income,prediction_price,prediction_income,lower_price,lower_income,upper_price,upper_income",
            "rmse",
        ),
    ],
)
def test_a_csv_file_is_fitted_tested_and_predicted(
    model: str, target: str, loss: str, header: str, metric: str
) -> None:
    write_csv(Path("table.csv"))
    run = fit("--model", model, "--model.loss", loss, *CSV, "--data.target", target)
    results = json.loads((run / "results.json").read_text())
    assert metric in results["test"]
    labels = ["no", "yes"] if target == "bought" else target.strip("[]").split(",")
    several = labels if len(labels) > 1 else []
    assert list(results["test_per_target" if model == "MLPRegressor" else "test_per_class"]) == several
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "row", *header.split(",")]
    assert len(rows) == 12
    cells = [dict(zip(HEADER.split(","), table_rows()[int(row["row"]) - 1], strict=True)) for row in rows]
    if metric in ("r2", "rmse"):
        suffix = "_price" if metric == "rmse" else ""
        prices = [float(c["price"]) for c in cells]
        assert [float(row[f"target{suffix}"]) for row in rows] == pytest.approx(prices, rel=1e-6)
        assert all(2e5 < float(row[f"prediction{suffix}"]) < 4e5 for row in rows), "not in the units of the prices"
    elif target == "bought":
        assert [row["target"] for row in rows] == [c["bought"] for c in cells]
        assert all(row["probability"] == row[f"probability_{row['prediction']}"] for row in rows)
    else:
        assert [row["target_round"] for row in rows] == [str(int(c["round"] == "true")) for c in cells]


@pytest.mark.slow
def test_a_run_keeps_its_columns_and_stores_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A row with another kind of id is added later: the ids do not number the rows any more, but stay left out."""
    rows = [[str(i), f"2024-01-{i % 28 + 1:02}", *row] for i, row in enumerate(table_rows())]
    header = f"id,day,{HEADER}"
    write_csv(Path("table.csv"), rows, header)
    run = fit("--model", "MLPRegressor", *CSV, "--data.target", "price")
    out = capsys.readouterr().out
    assert out.count("left out 'id' (numbers the rows)") == 1, "reported by fit alone"
    assert "  day     date     0 missing  28 distinct  date as 5 numbers\n" in out
    names = [line.split(",")[0] for line in (run / "columns.csv").read_text().splitlines()]
    assert names == ["column", *header.split(",")]
    predictions = (run / "predictions.csv").read_text()
    write_csv(Path("table.csv"), [*rows, ["x1", *rows[0][1:]]], header)
    for more, file in ((["--data.predict_path", "table.csv"], "new.csv"), ([], "same.csv")):
        assert main(["predict", "--config", str(run / "config.yaml"), "--output", file, *more, *QUICK]) == 0
    assert len(Path("new.csv").read_text().splitlines()) == 62
    assert Path("same.csv").read_text() == predictions


@pytest.mark.slow
def test_a_checkpoint_scales_a_new_file_as_in_training() -> None:
    """Double all incomes: if the new file were scaled by its own statistics, the predictions would not change."""
    write_csv(Path("table.csv"))
    run = fit("--model", "MLPRegressor", *CSV, "--data.target", "price", "--data.ignore", "[bought]")
    before = (run / "predictions.csv").read_text()
    rows = [[*row[:2], str(2 * float(row[2])), *row[3:]] for row in table_rows()]
    write_csv(Path("table.csv"), rows, HEADER)
    assert main(["predict", str(run), "--overwrite", *QUICK]) == 0
    assert (run / "predictions.csv").read_text() != before


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (
            "MLPClassifier",
            "Diabetes",
            "MLPClassifier predicts classes, but the targets of the data are something",
        ),
        (
            "MLPRegressor",
            "Iris",
            "MLPRegressor predicts numbers, but the targets of the data are something",
        ),
        ("CNNClassifier", "Iris", "one input of the data is a table row (4): use MLPClassifier"),
        ("RNNRegressor", "Diabetes", "one input of the data is a table row (10): use MLPRegressor"),
        ("CNNRegressor", "Digits", "CNNRegressor predicts numbers"),
    ],
)
def test_unsuitable_models_are_refused(model: str, data: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", model, "--data", data]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("checkpoints").exists()


def test_names_that_look_like_numbers() -> None:
    header = "12e4567,town,income,1e3,red,round,price"
    rows = [[*row[:3], "1E2" if row[3] == "yes" else "on", *row[4:]] for row in table_rows()]
    write_csv(Path("0x1F"), rows, header)
    options = ["--data", "TableCSV", "--data.path", "0x1F", "--data.target", "1e3", "--data.ignore+", "12e4567"]
    run = fit("--model", "MLPClassifier", *options, "--experiment", "1e3")  # which tests and predicts as well
    assert run.parent.name == "1e3"
    assert (
        (run / "predictions.csv")
        .read_text()
        .startswith("index,row,target,prediction,set,probability,probability_1E2,probability_on\n")
    )
    assert main(["resume", str(run), "--trainer.max_epochs", "3"]) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["epochs"] == 3
    assert set(results["test_per_class"]) == {"1E2", "on"}
