"""`litnets predict RUN INPUT...`: new inputs, streamed."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import litnets
from litnets.__main__ import main
from litnets.cli.commands.predict import split_inputs
from litnets.cli.prediction_output import open_output
from litnets.data import ImageFolder, SeriesCSV, TableCSV, TextFiles
from litnets.data.tables import base, new_rows
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_series import waves, write_series
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts

OFF: dict[str, Any] = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, "test_after_fit": False}
KINDS = ["images", "texts", "table", "series"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A trained run of each kind, by its name."""
    folder = tmp_path_factory.mktemp("runs")
    write_image_folder(folder / "images", size=6)
    write_texts(folder / "texts.csv", rows(60))
    write_csv(folder / "table.csv")
    write_series(folder / "series.csv", waves(80, 2), ["load", "OT"])
    data = {
        "images": (litnets.CNNClassifier, ImageFolder(str(folder / "images"), size=12)),
        "texts": (litnets.RNNClassifier, TextFiles(str(folder / "texts.csv"))),
        "table": (litnets.MLPRegressor, TableCSV(str(folder / "table.csv"), "price", ignore=["bought"])),
        "series": (litnets.LinearForecaster, SeriesCSV(str(folder / "series.csv"), look_back=6, horizon=3)),
    }
    fitted = {
        kind: litnets.fit(model, module, runs_dir=str(folder / "checkpoints"), experiment=kind, **OFF)
        for kind, (model, module) in data.items()
    }
    return {kind: str(run.folder) for kind, run in fitted.items()}


def write_new(kind: str) -> str:
    """Write new inputs and return their path."""
    if kind == "images":
        write_image_folder(Path("new"), size=3)
        return "new"
    path = Path("new.csv")
    if kind == "texts":
        write_texts(path, rows(20))
    elif kind == "table":
        write_csv(path)
    else:
        write_series(path, waves(30, 2), ["load", "OT"])
    return str(path)


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def error(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return the error message of a command, which has at most two lines."""
    assert main(["predict", *args]) == 2
    message = capsys.readouterr().err
    assert message.startswith("litnets: ")
    assert len(message.splitlines()) <= 2, message
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_equal_those_of_predict_path(kind: str, runs: dict[str, str]) -> None:
    new = write_new(kind)
    assert main(["predict", runs[kind], new, "--output", "streamed.csv"]) == 0
    assert main(["predict", runs[kind], "--data.predict_path", new, "--output", "whole.csv"]) == 0
    streamed, whole = read("streamed.csv"), read("whole.csv")
    columns = [name for name in whole[0] if name != "file"]
    assert [{name: row[name] for name in columns} for row in streamed] == [
        {name: row[name] for name in columns} for row in whole
    ]
    if kind == "images":
        assert [row["file"] for row in streamed] == [f"new/{row['file']}" for row in whole]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.slow
def test_other_formats_hold_the_same(suffix: str, runs: dict[str, str]) -> None:
    new = write_new("table")
    for output in ("a.csv", f"a{suffix}"):
        assert main(["predict", runs["table"], new, "--output", output, "--batch_size", "16"]) == 0
    if suffix == ".jsonl":
        found = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    else:
        found = pl.read_parquet("a.parquet").to_dicts()
    expected = read("a.csv")
    assert [row["index"] for row in found] == list(range(60))
    assert [f"{row['prediction']:.7g}" for row in found] == [row["prediction"] for row in expected]
    assert [row["target"] for row in found] == [row["target"] for row in expected]
    assert sorted(path.name for path in Path().iterdir()) == sorted({"a.csv", f"a{suffix}", "new.csv"})


def test_several_inputs_are_predicted_in_order(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("new"), size=2)
    first = sorted(Path("new").rglob("*.*"))[-1]
    shutil.copy(first, "alone.png")
    assert main(["predict", runs["images"], "alone.png", "new", "alone.png"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in found][:: len(found) - 1] == ["alone.png"] * 2
    assert [row["index"] for row in found] == [str(i) for i in range(len(found))]
    assert found[0]["probability"] == found[-1]["probability"]
    expected = litnets.load(runs["images"]).predict(["alone.png", "new"])
    assert [row["prediction"] for row in found[:-1]] == expected.tolist()


def test_a_line_is_predicted_before_the_next_one_is_typed(
    runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []

    def lines() -> Iterator[bytes]:
        for text, _ in rows(3):
            printed.append(capsys.readouterr().out.count("\n"))
            yield f"{text}\n".encode()

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=lines()))
    assert main(["predict", runs["texts"], "-", "--batch_size", "1"]) == 0
    assert printed == [0, 2, 1]  # the first time with the header


def test_texts_come_from_standard_input(
    runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text for text, _ in rows(5)]
    content = "".join(f"{text}\n" for text in [*texts[:2], "", *texts[2:]])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert main(["predict", runs["texts"], "-"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "litnets: standard input, line 3: the text is empty; fill it or delete the sample\n"
    found = list(csv.DictReader(io.StringIO(captured.out)))
    assert [row["row"] for row in found] == ["1", "2", "4", "5", "6"]
    assert [row["prediction"] for row in found] == litnets.load(runs["texts"]).predict(texts).tolist()


def test_a_forecast_has_the_times_after_the_end_of_the_file(runs: dict[str, str]) -> None:
    new = write_new("series")
    assert main(["predict", runs["series"], new, "--output", "a.csv"]) == 0
    found = read("a.csv")
    last = Path(new).read_text().splitlines()[-1].partition(",")[0]
    assert [row["step"] for row in found] == ["1", "2", "3"]
    assert all(row["time"] > last for row in found)
    assert [row["file"] for row in found] == [new] * 3


def test_broken_rows_are_named_and_the_others_predicted(
    runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(base, "_CHUNK_BATCHES", 1)
    lines = write_csv(Path("new.csv")).read_text().splitlines()
    good = Path("new.csv").read_text()
    cells = lines[5].split(",")
    cells[0] = "old"
    lines[5] = ",".join(cells)
    lines[30] += ",7,8"
    lines.insert(20, "")
    Path("new.csv").write_text("\n".join(lines))
    command = ["predict", runs["table"], "new.csv", "--batch_size", "8", "--output", "a.csv"]
    assert main([*command, "--strict"]) == 2
    assert not Path("a.csv").exists()
    capsys.readouterr()
    assert main(command) == 1
    first, second = [line for line in capsys.readouterr().err.splitlines() if line.startswith("litnets: ")]
    assert first.startswith("litnets: new.csv, line 6: ")
    assert "got 'old'" in first
    assert ", row 1" not in first
    assert second.startswith("litnets: new.csv, line 32: expected 7 cells")
    found = read("a.csv")
    assert [row["row"] for row in found] == [str(i) for i in range(1, 61) if i not in (5, 30)]
    assert [row["index"] for row in found] == [str(i) for i in range(58)]
    Path("good.csv").write_text(good)
    assert main(["predict", runs["table"], "good.csv", "--output", "good_predictions.csv"]) == 0
    expected = {row["row"]: float(row["prediction"]) for row in read("good_predictions.csv")}
    assert [float(row["prediction"]) for row in found] == pytest.approx([expected[row["row"]] for row in found])


def test_broken_images_are_named_in_their_place(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("new"), size=3)
    files = sorted(map(str, Path("new").rglob("*.*")))
    expected = litnets.load(runs["images"]).predict(files, batch_size=2).tolist()
    assert expected == litnets.load(runs["images"]).predict(files).tolist()
    broken = files[4]
    Path(broken).write_bytes(b"no image")
    assert main(["predict", runs["images"], "new", "--batch_size", "2"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"litnets: {broken}: ")
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    good = [(file, name) for file, name in zip(files, expected, strict=True) if file != broken]
    assert [(row["file"], row["prediction"]) for row in rows] == good
    assert main(["predict", runs["images"], "new", "--batch_size", "2", "--strict"]) == 2
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == files[:4]


def test_cells_with_line_breaks_are_one_row(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_CHUNK_BATCHES", 1)
    monkeypatch.setattr(new_rows, "_may_have_decimal_commas", lambda path, separator: False)
    lines = write_csv(Path("new.csv")).read_text().splitlines()
    noted = [f'{line},"a\n""b"""' if number else f"{line},note" for number, line in enumerate(lines)]
    Path("noted.csv").write_text("\n".join(noted) + "\n")
    for name in ("new", "noted"):
        command = ["predict", runs["table"], f"{name}.csv", "--batch_size", "8", "--output", f"{name}_predictions.csv"]
        assert main(command) == 0
    assert read("noted_predictions.csv") == read("new_predictions.csv")


def test_decimal_commas_are_found_in_the_complete_file(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_CHUNK_BATCHES", 1)
    lines = [line.replace(",", ";").replace(".", ",") for line in write_csv(Path("a.csv")).read_text().splitlines()]
    Path("new.csv").write_text("\n".join(lines) + "\n")
    for options in (["new.csv", "--batch_size", "8"], ["--data.predict_path", "new.csv"]):
        assert main(["predict", runs["table"], *options, "--output", f"{len(options)}.csv"]) == 0
    assert [row["row"] for row in read("3.csv")] == [row["row"] for row in read("2.csv")]
    found, expected = ([float(row["prediction"]) for row in read(path)] for path in ("3.csv", "2.csv"))
    assert found == pytest.approx(expected)


def test_parquet_files_are_read_in_slices(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_CHUNK_BATCHES", 1)
    pl.read_csv(write_csv(Path("new.csv")), null_values="NA").write_parquet("new.parquet")
    for suffix in ("csv", "parquet"):
        command = ["predict", runs["table"], f"new.{suffix}", "--batch_size", "16", "--output", f"{suffix}.csv"]
        assert main(command) == 0
    found, expected = ([float(row["prediction"]) for row in read(f"{suffix}.csv")] for suffix in ("parquet", "csv"))
    assert found == expected


def test_missing_columns_are_all_listed(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.csv").write_text("town,incomes,rooms\nOslo,2,3\n")
    assert error(capsys, runs["table"], "new.csv") == (
        "litnets: new.csv: 4 of the 5 columns of the training are missing: 'age', 'income'; did you mean 'incomes'?, "
        "'red', 'round'\ncolumns that the network does not use: incomes, rooms\n"
    )


def test_bad_inputs(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.csv").touch()
    Path("folder").mkdir()
    Path("noise.png").write_bytes(np.random.default_rng(0).bytes(300))
    Path("noise.csv").write_bytes(bytes(range(256)) * 4)
    Path("header.csv").write_text(write_csv(Path("new.csv")).read_text().splitlines()[0] + "\n")
    Image.new("RGB", (4, 4)).save("photo.png")
    images, table, texts, series = runs["images"], runs["table"], runs["texts"], runs["series"]
    assert "photo.jpg" in error(capsys, images, "photo.jpg")
    assert "folder contains no image" in error(capsys, images, "folder")
    assert "noise.png" in error(capsys, images, "noise.png")
    assert "new.csv is not an image" in error(capsys, images, "new.csv")
    assert "the file is empty" in error(capsys, table, "empty.csv")
    assert "only a header" in error(capsys, table, "header.csv")
    assert "not UTF-8" in error(capsys, table, "noise.csv")
    assert "no column" in error(capsys, texts, "new.csv")
    assert "photo.png is not a text" in error(capsys, texts, "photo.png")
    assert "new.csv, line 7, column 'age': expected a time" in error(capsys, series, "new.csv")
    assert "--output none/a.csv is in no existing folder" in error(capsys, table, "new.csv", "--output", "none/a.csv")
    assert "--output a.txt: expected a file that ends in" in error(capsys, table, "new.csv", "--output", "a.txt")
    assert "new.csv exists; --overwrite replaces it" in error(capsys, table, "new.csv", "--output", "new.csv")
    assert "--output new.csv would replace the input ./new.csv" in error(
        capsys, table, "./new.csv", "--output", "new.csv", "--overwrite"
    )
    assert "unrecognized arguments: --model.lr 1" in error(capsys, table, "new.csv", "--model.lr", "1")
    assert "--batch_size: expected at least 1, got 0" in error(capsys, table, "new.csv", "--batch_size", "0")
    for device in ("nonsense", "meta"):
        assert f"--device {device}" in error(capsys, table, "new.csv", "--device", device)
    assert "an INPUT is empty" in error(capsys, images, "")
    assert "the name is not UTF-8" in error(capsys, table, "caf\udce9.csv")
    write_series(Path("gap.csv"), np.where(waves(30, 2) > 0.9, np.nan, waves(30, 2)), ["load", "OT"])
    assert "gap.csv, line " in error(capsys, series, "gap.csv")
    assert "there is no folder nothing" in error(capsys, "nothing", "new.csv")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert "standard input is empty" in error(capsys, texts, "-")
    assert "does not read texts" in error(capsys, images, "-")


def test_a_run_without_a_checkpoint(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs["table"], "run", ignore=shutil.ignore_patterns("*.ckpt"))
    assert "best.ckpt (a run that has just started has not saved one yet)" in error(capsys, "run", "new.csv")
    assert "there is no checkpoint run/last.ckpt" in error(capsys, "run", "new.csv", "--ckpt_path", "last")


def test_a_class_of_the_user_has_to_be_trusted(
    runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(Path("new.csv"))
    Path("own_regressor.py").write_text("from litnets import MLPRegressor as OwnRegressor\n")
    shutil.copytree(runs["table"], "run")
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("litnets.MLPRegressor", "own_regressor.OwnRegressor"))
    assert "litnets predict: --trust own_regressor" in error(capsys, "run", "new.csv")
    monkeypatch.delitem(sys.modules, "own_regressor", raising=False)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert main(["predict", "run", "new.csv", "--trust", "own_regressor", "--output", "a.csv"]) == 0
    assert len(read("a.csv")) == 60


def test_a_file_name_may_look_like_a_pattern() -> None:
    with open_output("a[1]*.parquet", sys.stdout) as writer:
        writer.write({"index": [1]})
        writer.write({"index": [2]})
    assert pl.read_parquet(Path("a[1]*.parquet").read_bytes())["index"].to_list() == [1, 2]


def test_a_terminal_gets_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with open_output("-", sys.stdout) as writer:
        writer.write({"file": ["a\x1b[31m.png"]})
    assert capsys.readouterr().out == "file\na\\x1b[31m.png\n"


def test_predictions_go_to_standard_output_beside_a_progress_bar(
    runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image_folder(Path("new"), size=2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["predict", runs["images"], "new"]) == 0
    captured = capsys.readouterr()
    assert "predictions" in captured.err
    assert captured.out.startswith("index,file,prediction,")


def test_a_failed_command_leaves_no_file(runs: dict[str, str]) -> None:
    def fail() -> None:
        with open_output("a.parquet", sys.stdout) as writer:
            writer.write({"index": [1]})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(Path().iterdir())


def test_inputs_are_told_from_options() -> None:
    args = ["--overwrite", "a.png", "--output", "-", "-", "--batch_size=3", "b", "--strict", "c"]
    assert split_inputs(args) == (
        ["a.png", "-", "b", "c"],
        ["--overwrite", "--output", "-", "--batch_size=3", "--strict"],
    )
    assert split_inputs(["--data.predict_path", "new", "--overwrite"])[0] == []
    assert split_inputs(["--debug", "a.png"])[0] == ["a.png"]
    assert split_inputs(["a.png", "--strict", "--", "--b.png", "--"]) == (["a.png", "--b.png", "--"], ["--strict"])


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["--help"], ["RUN", "photo.png", "--help"]):
        assert main(["predict", *args]) == 0
        assert "--strict" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "RUN", "--help"])
    assert stopped.value.code == 0
    assert "--data.help" in capsys.readouterr().out
