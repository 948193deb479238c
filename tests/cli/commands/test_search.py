import json
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.cli.error_messages import init_arguments
from litnets.data import Digits
from litnets.runs.folder import Run
from litnets.safety.plain import load_yaml
from litnets.tasks import CNNClassifier, MLPClassifier, RNNClassifier
from litnets.tuning.space import read_space
from tests.conftest import CONFIGS

pytest.importorskip("optuna")
OPTIONS = ["--model", "MLPClassifier", "--data", "Iris", "--recipe", "false", "--trainer.logger", "false"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--space", "model.lrr=log(1e-4,1)"],
            "model.lrr: 0.0001 is rejected: model: MLPClassifier has no option",
        ),
        (["--space", "model.dropout=[0, 1.5]"], "--space model.dropout: 1.5 is rejected: dropout probability"),
        (["--space", "model.lr=log(1e-4,1)", "--sampler", "grid"], "--sampler grid: model.lr is log(0.0001, 1.0)"),
        (
            ["--space", "model.lr=log(1e-4,1)", "--budget", "10"],
            "expected a duration such as 90s, 10m or 1h30m",
        ),
        (["--space", "model.lr=log(1e-4,1)", "--trials", "0"], "expected a whole number of at least 1, got 0"),
        (
            ["--space", "model.lr=log(1e-4,1)", "--trainer.max_epochs", "-1"],
            "expected a number of epochs for each trial",
        ),
        ([], "the following arguments are required: --space"),
    ],
)
def test_a_mistake_is_reported_before_the_first_trial(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *args, *OPTIONS]) == 2
    assert message in capsys.readouterr().err
    assert not Path("checkpoints").exists()


@pytest.mark.slow
def test_a_search_ends_with_a_configuration_that_can_be_trained(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text("model.lr: log(1e-3, 1e-1)\nmodel.hidden_layer_sizes: [[4], [8, 8]]\n")
    command = ["search", "--space", "space.yaml", "--trials", "4", "--final_seeds", "2", *OPTIONS]
    assert main([*command, "--trainer.max_epochs", "3"]) == 0
    (folder,) = Path("checkpoints/iris_mlpclassifier").glob("search_*")
    results = json.loads((folder / "search.json").read_text())
    trials = [Run(path).read_results() for path in sorted(folder.glob("trial_???"))]
    assert len(trials) == 4
    assert all("test" not in trial for trial in trials), "the test split is read only for the winner"
    assert sorted(trial["epochs"] for trial in trials) == [1, 1, 1, 3]
    assert max(trial["best"]["score"] for trial in trials if trial["epochs"] == 3) == results["winner"]["score"]
    assert len(results["final"]["test"]["accuracy"]["values"]) == 2
    assert {path.suffix for path in folder.iterdir()} >= {".html", ".csv", ".yaml"}
    assert (folder / "report.html").read_text().count("<svg") >= 3  # the trials, and the scores by each parameter
    output = capsys.readouterr().out
    assert "of 12 epochs" in output
    assert f"results: {folder / 'best.yaml'}, trials.csv, search.json, report.html\n" in output
    assert main(["fit", "--config", str(folder / "best.yaml")]) == 0
    best = load_yaml("", (folder / "best.yaml").read_text())
    assert (
        json.dumps(best["model"]["init_args"]["hidden_layer_sizes"])
        == results["winner"]["values"]["model.hidden_layer_sizes"]
    )


@pytest.mark.parametrize("path", sorted((CONFIGS / "spaces").glob("*.yaml")), ids=lambda path: path.stem)
def test_ready_spaces_name_options_of_their_network(path: Path) -> None:
    network = {"cnn": CNNClassifier, "rnn": RNNClassifier}.get(path.stem, MLPClassifier)
    known = [f"model.{name}" for name in init_arguments(network)] + [f"data.{name}" for name in init_arguments(Digits)]
    assert {parameter.name for parameter in read_space([str(path)])} <= set(known)
