from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from litnets.analysis.combined_predictions import (
    average_predictions,
    concatenate_predictions,
    ensemble_scores,
    prediction_scores,
)
from litnets.errors import InputError
from litnets.runs.recorded_predictions import RecordedPredictions

CLASSES = ["cat", "dog", "owl"]


def classified(logits: list[list[float]], targets: list[str], **description: Any) -> RecordedPredictions:
    values = np.array(logits)
    frame = pl.DataFrame(
        {
            "index": range(len(targets)),
            "target": targets,
            "prediction": np.array(CLASSES)[values.argmax(1)],
            "loss": np.zeros(len(targets)),
            **{f"logit_{name}": values[:, i] for i, name in enumerate(CLASSES)},
        }
    )
    counts = {"samples": len(targets), "recorded": len(targets)}
    return RecordedPredictions(frame, {"class_names": CLASSES, **counts, **description})


def test_the_ensemble_of_classifiers_averages_probabilities() -> None:
    logits = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    runs = [classified(one.tolist(), ["cat"] * 7) for one in logits]
    averaged = average_predictions(runs)
    expected = logits.softmax(2).mean(0)
    torch.testing.assert_close(
        torch.tensor(averaged.frame[[f"probability_{name}" for name in CLASSES]].to_numpy()), expected.double()
    )
    assert averaged.frame["prediction"].to_list() == [CLASSES[i] for i in expected.argmax(1)]
    assert averaged.frame.columns[:2] == ["index", "target"]


def test_the_folds_keep_their_temperatures() -> None:
    folds = {
        "fold_0": classified([[2, 1, 0]], ["cat"], temperature=2.0),
        "fold_1": classified([[0, 3, 0]], ["dog"], temperature=0.5),
        "fold_2": classified([[0, 1, 0]], ["dog"]),
    }
    combined = concatenate_predictions(folds)
    expected = np.concatenate([fold.probabilities() for fold in folds.values()])  # type: ignore[arg-type]
    np.testing.assert_allclose(combined.probabilities(), expected)  # type: ignore[arg-type]
    assert combined.frame["temperature"].to_list() == [2.0, 0.5, None]


def test_folds_keep_columns_of_the_data_with_the_names_of_theirs() -> None:
    fold = classified([[2, 1, 0]], ["cat"], temperature=2.0)
    fold.frame = fold.frame.with_columns(run=pl.lit("a"), temperature=pl.lit("21 C"))
    combined = concatenate_predictions({"fold_0": fold})
    names = ["run", "id_run", "temperature", "id_temperature"]
    assert combined.frame.select(names).row(0) == ("fold_0", "a", 2.0, "21 C")


def test_two_wrong_networks_may_be_right_together() -> None:
    runs = [classified([[2, 1.9, 0], [0, 3, 0]], ["dog", "dog"]), classified([[0, 1.9, 2], [0, 3, 0]], ["dog", "dog"])]
    assert ensemble_scores(runs, [{"accuracy": 0.5, "f1": 0.3}] * 2) == {"accuracy": 1.0}


def test_a_score_that_disagrees_with_a_run_is_left_out() -> None:
    runs = [classified([[2, 1, 0]], ["cat"])] * 2
    assert ensemble_scores(runs, [{"accuracy": 1.0}, {"accuracy": 0.5}]) == {}


def test_labels_and_a_single_logit() -> None:
    frame = pl.DataFrame({"target_a": [1, 0], "prediction_a": [0, 0], "logit_a": [-1.0, -1.0]})
    other = pl.DataFrame({"target_a": [1, 0], "prediction_a": [1, 0], "logit_a": [3.0, -2.0]})
    description = {"class_names": ["a"], "multilabel": True}
    runs = [RecordedPredictions(one, description) for one in (frame, other)]
    assert prediction_scores(average_predictions(runs)) == {"accuracy": 1.0}
    only = pl.DataFrame({"target": [1, 0], "prediction": [1, 0], "logit": [3.0, -2.0]})  # as recorded of one label
    assert prediction_scores(average_predictions([RecordedPredictions(only, description)])) == {"accuracy": 1.0}
    single = pl.DataFrame({"target": ["yes", "no"], "prediction": ["yes", "yes"], "logit": [2.0, 0.1]})
    binary = RecordedPredictions(single, {"class_names": ["no", "yes"]})
    assert average_predictions([binary]).frame["prediction"].to_list() == ["yes", "yes"]


def test_the_ensemble_of_regressions_averages_values() -> None:
    runs = [
        RecordedPredictions(pl.DataFrame({"target": [0.0, 4.0], "prediction": values}), {"target_std": [2.0]})
        for values in ([1.0, 4.0], [-1.0, 2.0])
    ]
    averaged = average_predictions(runs)
    assert averaged.frame["prediction"].to_list() == [0.0, 3.0]
    assert prediction_scores(averaged) == pytest.approx({"r2": 1 - 0.5 / 4, "mae": 0.5, "rmse": 0.5**0.5})


def test_the_errors_of_forecasts_are_standardized() -> None:
    frame = pl.DataFrame({"index": [0, 0], "step": [1, 2], "target_a": [0.0, 4.0], "prediction_a": [2.0, 4.0]})
    run = RecordedPredictions(frame, {"channel_std": [2.0]})
    assert prediction_scores(run) == {"mse": 0.5, "mae": 0.5}


def test_other_samples_or_missing_outputs_are_refused() -> None:
    run = classified([[2, 1, 0]], ["cat"])
    with pytest.raises(InputError, match="different samples"):
        average_predictions([run, classified([[2, 1, 0]], ["dog"])])
    with pytest.raises(InputError, match="not all predictions were recorded"):
        average_predictions([run, classified([[2, 1, 0]], ["cat"], samples=5)])
    masks = RecordedPredictions(pl.DataFrame({"index": [0], "mean_iou": [0.5]}), {"class_names": CLASSES})
    with pytest.raises(InputError, match="the outputs of the networks were not recorded"):
        average_predictions([masks])


def test_folds_are_concatenated_with_their_names() -> None:
    runs = {"fold_0": classified([[2, 1, 0]], ["cat"], split="test"), "fold_1": classified([[0, 1, 0]], ["dog"])}
    joint = concatenate_predictions(runs)
    assert joint.frame.columns[:3] == ["run", "index", "target"]
    assert joint.frame["run"].to_list() == ["fold_0", "fold_1"]
    assert joint.description == {"class_names": CLASSES, "samples": 2, "recorded": 2}
