import math
import re
from pathlib import Path
from typing import Any

import pytest

from litnets.__main__ import main
from litnets.analysis.score_table import ScoreTable
from litnets.analysis.scores_page import read_scores, scores_page
from litnets.runs.folder import Run
from litnets.runs.storage import replace_non_finite, write_json

FOLDER = Path("checkpoints", "pets", "cv_1")


@pytest.fixture
def content() -> dict[str, Any]:
    """The results of two folds, one with a report."""
    table = ScoreTable({"fold_0": {"loss": 0.5, "accuracy": 0.7}, "fold_<b>": {"loss": 0.25, "accuracy": 0.9}}, 1.0)
    for name in table.scores:
        run = Run(FOLDER / name)
        run.folder.mkdir(parents=True)
        run.update_results(best={"monitor": "val/accuracy", "score": 0.75, "epoch": 3}, epochs=5)
    (FOLDER / "fold_<b>" / "report.html").touch()
    return {"command": "cv", "folds": 2, "repeats": 1, "evaluated_on": "test", **table.to_dict()}


def test_the_page_has_the_scores_and_links_to_the_reports(content: dict[str, Any]) -> None:
    page = scores_page(FOLDER, content)
    assert "Cross-validation of pets" in page
    assert "test accuracy 0.8000 ± 0.1414 over 2 folds; 95% interval of the mean:" in page
    assert re.findall(r'<a href="([^"#]*)"', page) == ["fold_&lt;b&gt;/report.html"] * 2
    assert "<b>" not in page
    assert "corrected for shared training samples" in page


def test_the_test_split_has_a_table_with_the_ensemble(content: dict[str, Any]) -> None:
    table = ScoreTable(content["runs"], None).to_dict()
    page = scores_page(FOLDER, content | {"evaluated_on": "val", "test": {**table, "ensemble": {"accuracy": 0.875}}})
    assert "val accuracy" in page
    assert "Scores on the test split, which all runs share" in page
    assert "0.8750" in page
    assert page.count("95% from") == 1


def test_scores_that_are_no_numbers_leave_no_figure(content: dict[str, Any]) -> None:
    table = ScoreTable({name: {"loss": math.nan} for name in content["runs"]}, 1.0)
    page = scores_page(FOLDER, replace_non_finite(content | table.to_dict()))
    assert "No test score is a finite number in all runs." in page
    assert "<svg" not in page


def test_report_of_the_folder_of_several_runs(content: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert read_scores(FOLDER) is None
    write_json(FOLDER / "cv.json", content)
    assert read_scores(FOLDER) == content
    assert main(["report", "pets/cv_1"]) == 0
    assert (FOLDER / "report.html").read_text() == scores_page(FOLDER, content)
    assert "report: checkpoints/pets/cv_1/report.html" in capsys.readouterr().out
