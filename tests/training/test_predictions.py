import csv

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.runs.folder import Run
from litnets.tasks import Classifier
from litnets.training.predictions import PredictionsCSV, table

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


@pytest.mark.parametrize("names", [None, ["ant", "bee", "cat"]])
def test_one_row_per_sample(tmp_path, names):
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    run = Run(tmp_path)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[PredictionsCSV(run.predictions)],
    )
    loader = DataLoader(TensorDataset(logits, torch.zeros(7)), batch_size=3)
    trainer.predict(Classifier(nn.Identity(), 3, class_names=names), loader, return_predictions=False)
    with run.predictions.open() as file:
        header, *rows = csv.reader(file)
    class_names = names or ["0", "1", "2"]
    assert header == ["index", "prediction", "probability", *(f"probability_{name}" for name in class_names)]
    assert [row[0] for row in rows] == list("0123456")
    exp = np.exp(logits.numpy())
    np.testing.assert_allclose(
        np.array([row[3:] for row in rows], dtype=float), exp / exp.sum(1, keepdims=True), rtol=1e-4
    )
    assert [float(row[2]) for row in rows] == [max(map(float, row[3:])) for row in rows]
    assert [row[1] for row in rows] == [class_names[i] for i in logits.argmax(1)]


def test_rows_of_all_ranks_are_in_sample_order():
    parts = [
        ([0, 2, 4], {"prediction": torch.tensor([0, 1, 0]), "value": torch.tensor([[0.0, 9], [2, 7], [4, 5]])}),
        ([3, 1], {"prediction": torch.tensor([1, 0]), "value": torch.tensor([[3.0, 6], [1, 8]])}),
    ]
    assert table(parts, ["no", "yes"]).splitlines() == [
        "index,prediction,value_no,value_yes",
        "0,no,0,9",
        "1,no,1,8",
        "2,yes,2,7",
        "3,yes,3,6",
        "4,no,4,5",
    ]
    assert table(parts, None).splitlines()[:2] == ["index,prediction,value_0,value_1", "0,0,0,9"]


def test_only_predictions_are_replaced_by_class_names():
    parts = [([0, 1], {"length": torch.tensor([1, 0]), "prediction": torch.tensor([1, 0])})]
    assert table(parts, ["no", "yes"]).splitlines() == ["index,length,prediction", "0,1,yes", "1,0,no"]


def test_regression_columns_are_named_by_target():
    parts = [([0], {"prediction": torch.tensor([[1234567.0, 0.1]])})]
    assert table(parts, None, ["price", "share"]).splitlines() == [
        "index,prediction_price,prediction_share",
        "0,1234567,0.1",
    ]
    assert table([([0], {"prediction": torch.tensor([0.1])})], None, ["share"]).splitlines()[1] == "0,0.1"


def test_names_with_commas_are_quoted():
    parts = [([0], {"prediction": torch.tensor([0])})]
    (row,) = list(csv.reader(table(parts, ["shirt, blue"]).splitlines()))[1:]
    assert row == ["0", "shirt, blue"]


def test_no_samples():
    assert table([], ["no", "yes"]) == "index\n"


def test_forecasts_have_a_row_per_step_and_a_column_per_channel():
    values = torch.tensor([[[1.0, 10], [2, 20]], [[3, 30], [4, 40]]])  # (N, horizon, channels)
    parts = [([1, 0], {"prediction": values})]
    samples = {"time": [["Mon", "Tue"], ["Tue", "Wed"]], "station": ["north", "south"]}
    assert table(parts, None, None, ["load", "OT"], samples=samples).splitlines() == [
        "index,step,time,station,prediction_load,prediction_OT",
        "0,1,Mon,north,3,30",
        "0,2,Tue,north,4,40",
        "1,1,Tue,south,1,10",
        "1,2,Wed,south,2,20",
    ]
    assert table(parts, None).splitlines()[0] == "index,step,prediction_0,prediction_1"


def test_what_identifies_samples_comes_first():
    parts = [([1, 0], {"prediction": torch.tensor([0, 1]), "probability": torch.tensor([[0.9, 0.1], [0.25, 0.75]])})]
    samples = {"file": ["a.png", "b.png"], "target": ["yes", "no"]}
    assert table(parts, ["no", "yes"], samples=samples).splitlines() == [
        "index,file,target,prediction,probability,probability_no,probability_yes",
        "0,a.png,yes,yes,0.75,0.25,0.75",
        "1,b.png,no,no,0.9,0.9,0.1",
    ]


def test_multi_label_predictions_have_no_top_class():
    parts = [([0], {"prediction": torch.tensor([[0, 1]]), "probability": torch.tensor([[0.25, 0.75]])})]
    assert table(parts, ["a", "b"]).splitlines() == [
        "index,prediction_a,prediction_b,probability_a,probability_b",
        "0,0,1,0.25,0.75",
    ]
