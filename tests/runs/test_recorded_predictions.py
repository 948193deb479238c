from pathlib import Path

import polars as pl
import pytest

from litnets.errors import InputError
from litnets.runs.recorded_predictions import RecordedPredictions

CLASSES = {"class_names": ["a", "b"]}
COLUMNS = {"index": [0, 1], "target": ["a", "b"], "prediction": ["a", "a"], "loss": [0.5, 0.25]}


@pytest.mark.parametrize(
    ("columns", "description", "problem"),
    [
        ({}, [1], "description: expected object, got '[1]'"),
        ({}, {"class_names": "ab"}, "class_names: expected list, got 'ab'"),
        ({}, {"class_names": [["a"], "b"]}, "an entry of class_names: expected string, got \"['a']\""),
        ({}, {"multilabel": 1}, "multilabel: expected boolean, got '1'"),
        ({}, {"target_names": None}, "target: expected numbers, got String"),
        ({}, {**CLASSES, "temperature": 0}, "expected a temperature above 0, got 0"),
        ({}, {**CLASSES, "temperature": "x"}, "temperature: expected number, got 'x'"),
        ({"loss": ["x", "y"]}, CLASSES, "loss: expected numbers, got String"),
        ({"target": ["a", "z"]}, CLASSES, "target: there is no class 'z'"),
        ({"prediction": [None, "a"]}, CLASSES, "prediction: there is no class 'None'"),
    ],
)
def test_predictions_that_no_test_records_are_damaged(columns, description, problem):
    path = Path("test_predictions.parquet")
    RecordedPredictions(pl.DataFrame({**COLUMNS, **columns}), description).save(path)
    with pytest.raises(InputError) as error:
        RecordedPredictions.load(path)
    assert str(error.value) == f"{path} is damaged ({problem}); restore a copy of it, or delete it"
