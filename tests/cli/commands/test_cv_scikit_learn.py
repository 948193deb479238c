"""On the folds of `litnets cv`, a linear network scores like scikit-learn's linear models."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from litnets.__main__ import main
from litnets.data.core.split_record import SplitRecord

FOLDS = 5
OPTIONS = ["--recipe", "false", "--model.hidden_layer_sizes", "[]", "--model.lr", "0.03", "--data.batch_size", "16"]
OPTIONS += ["--trainer.max_epochs", "40", "--model.lr_scheduler", "OneCycleLR", "--figures", "false"]
SETS = {
    "Iris": datasets.load_iris,
    "Wine": datasets.load_wine,
    "BreastCancer": datasets.load_breast_cancer,
    "Diabetes": datasets.load_diabetes,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_linear_network_scores_like_scikit_learn_on_the_same_folds(name: str) -> None:
    model, metric = ("MLPRegressor", "r2") if name == "Diabetes" else ("MLPClassifier", "accuracy")
    assert main(["cv", "--folds", str(FOLDS), "--model", model, "--data", name, *OPTIONS]) == 0
    (parent,) = Path("checkpoints").glob("*/cv_*")
    runs = json.loads((parent / "cv.json").read_text())["runs"]
    inputs, targets = SETS[name](return_X_y=True)
    differences = []
    for fold, scores in runs.items():
        record = SplitRecord.load(parent / fold / "split.npz")
        train, _, test = np.split(record.order, np.cumsum(record.sizes)[:2])
        linear = LinearRegression() if metric == "r2" else LogisticRegression(max_iter=1000)
        expected = make_pipeline(StandardScaler(), linear).fit(inputs[train], targets[train])
        differences.append(scores[metric] - expected.score(inputs[test], targets[test]))
    error = np.std(differences, ddof=1) / FOLDS**0.5
    assert abs(np.mean(differences)) <= max(2.8 * error, 0.01)  # 2.8: t with 4 degrees of freedom, 95%
    assert np.abs(differences).max() < 0.07  # two of the 30 irises
