import re
from pathlib import Path
from typing import Any

import pytest

from litnets.__main__ import main
from litnets.analysis.search_page import read_search, search_page
from litnets.errors import InputError
from litnets.runs.storage import write_json

FOLDER = Path("checkpoints", "pets", "search_1")
TRIALS = """\
trial,run,state,epochs,seed,model.lr,data.augment,val/accuracy at 1,val/accuracy at 4,error
0,trial_000,finished,4,42,0.1,<flip>,0.5,0.75,
1,trial_001,stopped,1,43,0.001,none,0.25,,
2,trial_002,failed,0,44,0.0001,none,,,the loss is not finite
"""


@pytest.fixture
def results() -> dict[str, Any]:
    """The results of three trials, of which one was trained to the end and one failed."""
    FOLDER.mkdir(parents=True)
    (FOLDER / "trials.csv").write_text(TRIALS)
    spread = {"mean": 0.7, "std": 0.01, "values": [0.69, 0.7, 0.71]}
    content = {
        "monitor": "val/accuracy",
        "winner": {"trial": "trial_000", "values": {"model.lr": "0.1", "data.augment": "<flip>"}, "score": 0.75},
        "final": {"validation": spread, "test": {"accuracy": {**spread, "mean": 0.65}}},
        "importance": {"model.lr": 0.9, "data.augment": 0.1},
        "trials": 3,
        "epochs_trained": 5,
        "epochs_without_halving": 12,
    }
    write_json(FOLDER / "search.json", content)
    return content


def test_the_page_shows_the_winner_and_the_scores_of_the_trials(results: dict[str, Any]) -> None:
    page = search_page(FOLDER, results)
    assert "Search of pets" in page
    assert "The best of 3 trials: model.lr 0.1, data.augment &lt;flip&gt;. val/accuracy 0.7000 ± 0.0100" in page
    assert re.findall(r"<h3>([^<]*)</h3>\s*<div class=\"scroll\"><svg", page) == [
        "Trials",
        "model.lr",
        "data.augment",
        "Importance",
    ]
    assert "the loss is not finite" in page
    assert "<flip>" not in page


@pytest.mark.parametrize(
    ("domain", "is_log"),
    [("log(0.0001, 0.1)", True), ("uniform(0, 0.1)", False), ("[0.1, 0.001, 0.0001]", True), (None, True)],
)
def test_the_axis_of_a_parameter_has_the_scale_of_its_search(
    results: dict[str, Any], domain: str | None, is_log: bool
) -> None:
    if domain is not None:
        results["space"] = {"model.lr": domain, "data.augment": "[<flip>, none]"}
    write_json(FOLDER / "search.json", results)
    recorded = read_search(FOLDER)
    assert recorded is not None
    figure = search_page(FOLDER, recorded).split("<h3>model.lr</h3>")[1].split("</svg>")[0]
    labels = re.findall(r'class="m">([^<]*)<', figure)
    assert ("0.001" in labels and "0.01" in labels) == is_log


def test_a_test_metric_may_be_nan(results: dict[str, Any]) -> None:
    results["final"]["test"]["auroc"] = {"mean": None, "std": None, "values": [None, 0.9]}
    results["space"] = None  # as in the results of an earlier version
    write_json(FOLDER / "search.json", results)
    page = search_page(FOLDER, read_search(FOLDER) or {})
    assert "<td>test auroc, with fresh seeds</td><td>not a number</td>" in page


def test_damaged_trials_are_refused(results: dict[str, Any]) -> None:
    for damage in (
        TRIALS.splitlines()[0],
        TRIALS + "3\n",
        TRIALS.replace("0.25", "0.25,,,"),
        TRIALS.replace("0.5", "x"),
    ):
        (FOLDER / "trials.csv").write_text(damage)
        with pytest.raises(InputError, match=r"trials\.csv is damaged"):
            search_page(FOLDER, results)


def test_the_command_writes_the_page(results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(FOLDER)]) == 0
    assert (FOLDER / "report.html").read_text() == search_page(FOLDER, results)
    assert capsys.readouterr().out == f"report: {FOLDER / 'report.html'}\n"
    assert read_search(FOLDER.parent) is None
