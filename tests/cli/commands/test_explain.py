"""`litnets explain RUN [INPUT...]`: files in the run, their checks, and bad input."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import litnets
from litnets.__main__ import main
from litnets.data import ImageFolder, Iris, SeriesCSV, Shapes, TextFiles
from litnets.runs.folder import Run
from litnets.runs.stored_inputs import StoredInput, save_inputs
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_series import waves, write_series
from tests.helpers.tiny_text import rows, write_texts

pytest.importorskip("captum", reason="needs the extra explain")
pytest.importorskip("matplotlib", reason="needs the extra explain")

OFF: dict[str, Any] = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, "test_after_fit": False}


class Runs:
    """A trained run of each kind, which is trained when a test asks for it.

    Args:
        folder: Where data and runs are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trained: dict[str, Run] = {}

    def __getitem__(self, kind: str) -> Run:
        if kind not in self._trained:
            model, data, arguments = getattr(self, f"_{kind}")()
            options = {"runs_dir": str(self.folder / "checkpoints"), "experiment": kind, **arguments, **OFF}
            self._trained[kind] = Run(litnets.fit(model, data, **options).folder)
        return self._trained[kind]

    def _rows(self) -> Any:
        return litnets.MLPClassifier, Iris(), {"hidden_layer_sizes": [8]}

    def _images(self) -> Any:
        write_image_folder(self.folder / "images", size=6)
        return litnets.CNNClassifier, ImageFolder(str(self.folder / "images"), size=12), {"widths": [8, 8]}

    def _texts(self) -> Any:
        write_texts(self.folder / "texts.csv", rows(60))
        return litnets.RNNClassifier, TextFiles(str(self.folder / "texts.csv")), {"hidden_size": 8}

    def _series(self) -> Any:
        write_series(self.folder / "series.csv", waves(80, 2), ["load", "OT"])
        return litnets.LinearForecaster, SeriesCSV(str(self.folder / "series.csv"), look_back=6, horizon=3), {}

    def _masks(self) -> Any:
        return litnets.UNetSegmenter, Shapes(samples=20, size=16), {"widths": [4, 8]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def entries(run: Run) -> dict[str, dict[str, Any]]:
    """Return the entries of explain.json by method, and check that their pictures exist."""
    listed = json.loads((run.explanation / "explain.json").read_text())["explanations"]
    assert all((run.explanation / entry["picture"]).read_bytes()[:4] == b"\x89PNG" for entry in listed)
    return {entry["method"]: entry for entry in listed}


def error(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return the error message of a command, which has at most two lines."""
    assert main(["explain", *args]) == 2
    message = capsys.readouterr().err
    assert message.startswith("litnets: ")
    assert len(message.splitlines()) <= 2, message
    return message


def test_a_table_is_explained_by_its_columns(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs["rows"]
    assert main(["explain", str(run.folder), "--samples", "3", "--repeats", "2"]) == 0
    shown = capsys.readouterr().out
    assert "integrated_gradients" in shown
    assert shown.endswith(f"explanation: {run.explanation}\n")
    found = entries(run)
    assert found.keys() == {"integrated_gradients", "permutation", "filters", "units"}
    assert found["filters"]["passed"] is None
    maps = table(run.explanation / "maps.csv")
    assert [row["method"] for row in maps] == ["integrated_gradients"] * 3
    assert all(float(row["completeness_error"]) < 0.05 for row in maps)
    values = table(run.explanation / "values.csv")
    assert [row["name"] for row in values[:4]] == [row["column"] for row in sorted_columns(run)]
    assert not list(run.folder.glob(".*"))  # no lock, no temporary folder


def sorted_columns(run: Run) -> list[dict[str, str]]:
    """Return the rows of permutation.csv in the order of the columns."""
    order = [row["name"] for row in table(run.explanation / "values.csv")]
    return sorted(table(run.explanation / "permutation.csv"), key=lambda row: order.index(row["column"]))


@pytest.mark.slow
def test_images_are_explained_by_every_method(runs: Runs) -> None:
    run, new = runs["images"], "new"
    write_image_folder(Path(new), size=3)
    methods = ["saliency", "integrated_gradients", "grad_cam", "occlusion", "filters", "units"]
    chosen = [part for name in methods for part in ("--method", name)]
    assert main(["explain", str(run.folder), new, "--samples", "2", *chosen]) == 0
    assert list(entries(run)) == methods
    assert {row["input"] for row in table(run.explanation / "maps.csv")} <= {path.name for path in Path(new).rglob("*")}
    assert main(["explain", str(run.folder), new, "--samples", "1", "--method", "saliency"]) == 0
    assert {path.name for path in run.explanation.iterdir()} == {"saliency.png", "maps.csv", "explain.json"}


@pytest.mark.slow
def test_a_text_may_be_passed_itself(runs: Runs) -> None:
    run = runs["texts"]
    text = rows(1)[0][0]
    assert main(["explain", str(run.folder), text, "--method", "integrated_gradients"]) == 0
    (row,) = table(run.explanation / "maps.csv")
    assert row["input"] == text
    assert len(table(run.explanation / "values.csv")) == len(text.split())


@pytest.mark.slow
def test_a_step_of_a_forecast_is_explained(runs: Runs) -> None:
    run = runs["series"]
    assert main(["explain", str(run.folder), "--target", "OT", "--step", "2", "--samples", "1"]) == 0
    (row,) = table(run.explanation / "maps.csv")
    assert row["answer"] == "OT, step 2"
    assert float(row["completeness_error"]) < 0.001  # the network is linear


@pytest.mark.slow
def test_the_tiles_of_an_image_are_explained(runs: Runs) -> None:
    Image.new("RGB", (24, 16), "red").save("wide.png")
    assert main(["explain", str(runs["masks"].folder), "wide.png", "--target", "circle", "--method", "saliency"]) == 0
    maps = table(runs["masks"].explanation / "maps.csv")
    assert {row["answer"] for row in maps} == {"circle"}
    assert maps[0]["input"] == "wide.png at (0, 0)"
    assert len(maps) > 1


@pytest.mark.slow
def test_stored_inputs_need_no_data(runs: Runs) -> None:
    run = runs["texts"]
    stored = [StoredInput("test", index, "example", "text", rows(5)[index][0].encode()) for index in range(5)]
    save_inputs(run.inputs, stored)
    try:
        assert main(["explain", str(run.folder), "--samples", "2", "--method", "saliency"]) == 0
    finally:
        run.inputs.unlink()
    assert [row["input"] for row in table(run.explanation / "maps.csv")] == ["test 0", "test 4"]


def test_bad_input_is_named(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs["rows"]
    name = str(run.folder)
    before = sorted(path.name for path in run.folder.iterdir())
    assert "there is no folder nowhere" in error(capsys, "nowhere")
    assert "expected a run" in error(capsys, "--method", "saliency")
    assert "no method 'gradcam'; did you mean 'grad_cam'?" in error(capsys, name, "--method", "gradcam")
    assert "nothing.csv" in error(capsys, name, "nothing.csv")
    Path("broken.csv").write_text("a,b\n1,2\n")
    assert "4 of the 4 columns of the training are missing" in error(capsys, name, "broken.csv")
    assert "no convolution over positions" in error(capsys, name, "--method", "grad_cam")
    assert "--samples: expected at least 1, got 0" in error(capsys, name, "--samples", "0")
    assert "no class 'dragon'" in error(capsys, name, "--target", "dragon", "--method", "saliency")
    assert "--step 2: only forecasts have steps" in error(capsys, name, "--step", "2", "--method", "saliency")
    assert "unrecognized arguments: --lr 1" in error(capsys, name, "--lr", "1")
    assert sorted(path.name for path in run.folder.iterdir()) == before


@pytest.mark.slow
def test_bad_images_are_named(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    name = str(runs["images"].folder)
    assert "nothing.png cannot be read" in error(capsys, name, "nothing.png")
    Path("broken.png").write_bytes(b"no image")
    assert "broken.png: not an image" in error(capsys, name, "broken.png")
    assert "--method permutation: permutation importance is for" in error(capsys, name, "--method", "permutation")


def test_a_missing_captum_is_named(
    runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    assert 'run: pip install -e ".[explain]"' in error(capsys, str(runs["rows"].folder))


def test_help_needs_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["--help"], ["RUN", "--help"], ["RUN", "photo.png", "-h"]):
        assert main(["explain", *args]) == 0
        assert capsys.readouterr().out.startswith("usage: litnets explain RUN [INPUT...]")
