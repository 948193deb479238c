import csv
import io
from pathlib import Path

import pytest
import torch

from litnets.__main__ import main
from litnets.runs.print_results import print_results
from litnets.safety.escaping import csv_cell, printable, without_passwords
from litnets.training.predictions import table
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_text import rows, write_texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat, Köln, 猫, 👩‍🔬, [red]", "cat, Köln, 猫, 👩‍🔬, [red]"),
        ("\x1b[2Jcat", "\\x1b[2Jcat"),
        ("\x9b31m", "\\x9b31m"),  # the single-character form of ESC [
        ("a\rb\x08c\x07", "a\\rb\\x08c\\x07"),
        ("a\tb", "a\\tb"),
        ("a\nb", "a\\nb"),
        ("gnp\u202egpj.exe", "gnp\\u202egpj.exe"),
        ("\u2066a\u2069", "\\u2066a\\u2069"),
        ("a\u2028b", "a\\u2028b"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_printable_keeps_line_breaks_on_request() -> None:
    assert printable("first\nsecond\x1b", lines=True) == "first\nsecond\\x1b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqlite:///search.db", "sqlite:///search.db"),
        ("postgresql://ann@host:5432/optuna", "postgresql://ann@host:5432/optuna"),
        ("postgresql+psycopg://ann:se:cr@et@host:5432/optuna", "postgresql+psycopg://ann:***@host:5432/optuna"),
        ("--storage mysql://ann:secret@host/a --x a@b", "--storage mysql://ann:***@host/a --x a@b"),
    ],
)
def test_passwords_of_urls_are_hidden(text: str, expected: str) -> None:
    assert without_passwords(text) == expected


def test_names_of_files_are_shown_as_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """An error before a command starts, one within it, a damaged checkpoint, and a weight of another one."""
    assert main(["fit\x1b[2J"]) == 2
    model = ["--model", "MLPClassifier", "--model.hidden_layer_sizes", "[4]", "--data", "Digits"]
    options = [*model, "--recipe", "false", "--trainer.logger", "false", "--trainer.max_epochs", "1"]
    assert main(["fit", *options, "--experiment", "a"]) == 0
    (best,) = Path("checkpoints").glob("*/*/best.ckpt")
    folder = best.parent.rename("run\x1b[2J")
    content = torch.load(folder / "best.ckpt", weights_only=True)
    content["state_dict"]["\x1b[2J"] = torch.zeros(1)
    torch.save(content, "weights.ckpt")
    assert main(["fit", *options, "--init_from", "weights.ckpt", "--init_partial", "true"]) == 0
    assert main(["test", *model, "--ckpt_path", str(folder / "none.ckpt")]) == 2
    (folder / "last.ckpt").write_bytes(b"damaged")
    assert main(["resume", str(folder), "--trainer.max_epochs", "2"]) == 0
    shown = "".join(capsys.readouterr())
    assert "\x1b[2J" not in shown
    assert shown.count("run\\x1b[2J") > 3
    assert "left out: \\x1b[2J" in shown


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+cmd", "'+1+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("cat;=1+1", "cat;'=1+1"),  # of a spreadsheet set to semicolons
        ("cat\n@SUM(A1)\t-2+3", "cat\n'@SUM(A1)\t'-2+3"),
        ("cat; dog", "cat; dog"),
        ("＝1+1", "'＝1+1"),  # noqa: RUF001
        ("-1", "-1"),
        ("+1.5e-3", "+1.5e-3"),
        ("-.5", "-.5"),
        ("cat", "cat"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_csv_cell(text: str, cell: str) -> None:
    assert csv_cell(text) == cell


def test_predictions_contain_no_spreadsheet_formulas() -> None:
    parts = [([0, 1], {"prediction": torch.tensor([0, 1]), "probability": torch.tensor([[0.9, -0.1], [-1.0, 0.5]])})]
    text = table(parts, ["=1+1", "-1"], samples={"file": ["@a.png", "b.png"]})
    header, *lines = csv.reader(io.StringIO(text))
    assert header == ["index", "file", "prediction", "probability", "probability_=1+1", "probability_-1"]
    assert lines == [["0", "'@a.png", "'=1+1", "0.9", "0.9", "-0.1"], ["1", "b.png", "-1", "0.5", "-1", "0.5"]]


def test_channel_names_of_forecasts_are_escaped() -> None:
    text = table([([0], {"=1": torch.zeros(1, 2, 1)})], None, channel_names=["OT"])
    assert text.splitlines()[0] == "index,step,'=1_OT"


def test_class_names_in_results_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["\x1b[31mred", "[bold]", ":cat:", "\u202etac"]
    print_results("test", {f"test/f1/{name}": 0.5 for name in names} | {"test/\x1b]0;x\x07": 1.0})
    out = capsys.readouterr().out
    assert not any(character in out for character in "\x1b\x07\u202e")
    for name in names:
        assert printable(name) in out


def test_errors_contain_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["fit", "--model", "MLPClassifier", "--data", "TableCSV", "--data.path", "a\x1b[2J", "--data.target", "y"])
        == 2
    )
    message = capsys.readouterr().err
    assert "\x1b" not in message
    assert "a\\x1b[2J" in message


def test_errors_are_short_even_for_long_cells(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.csv").write_text("x" * 100_000 + ",label\na,b\n")
    assert main(["fit", "--model", "RNNClassifier", "--data", "TextFiles", "--data.path", "own.csv"]) == 2
    assert len(capsys.readouterr().err) < 5000


def test_arguments_that_are_not_utf8_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", "MLPClassifier", "--data", "ImageFolder", "--data.root", "own\udcff"]) == 2
    assert capsys.readouterr().err == "litnets: own\\udcff: not UTF-8; rename the file or folder\n"


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.slow
def test_a_run_with_malicious_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Train, test, draw figures and predict: every place that shows a class or file name."""
    pytest.importorskip("matplotlib")
    names = ("=1+1", "$\\frac{$", "[red]\x1b[31m\u202e")
    write_image_folder(Path("own"), names, size=8)
    Path("own/=1+1/00.png").rename("own/=1+1/=cmd.png")
    args = ["--model", "MLPClassifier", "--data", "ImageFolder", "--data.root", "own", "--data.size", "8"]
    assert main(["fit", *args, "--trainer.max_epochs", "1", "--figures", "true"]) == 0
    (config,) = map(str, Path("checkpoints").glob("*/*/config.yaml"))
    assert main(["predict", "--config", config, "--data.predict_path", "own/=1+1"]) == 0
    captured = capsys.readouterr()
    assert not any(character in captured.out + captured.err for character in "\x1b\u202e")
    (predictions,) = Path("checkpoints").glob("*/*/predictions.csv")
    cells = [cell for line in csv.reader(predictions.read_text().splitlines()) for cell in line]
    assert "'=cmd.png" in cells
    assert not any(cell.startswith("=") for cell in cells)


def test_class_names_in_errors_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    content = [*rows(), ("only one", "\x1b[31mred")]
    write_texts(Path("own.csv"), content)
    assert main(["fit", "--model", "RNNClassifier", "--data", "TextFiles", "--data.path", "own.csv"]) == 2
    message = capsys.readouterr().err
    assert "the only text of the class '\\x1b[31mred'" in message
    assert "\x1b" not in message
