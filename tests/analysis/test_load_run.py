"""Load a run: its DataModule for new inputs, and its splits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from litnets.analysis.load_run import SavedRun, read_split
from litnets.data import ArrayData, TableCSV
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.in_memory import describe_datamodule
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.safety.plain import dump_yaml

ROWS = [f"{i / 10},{'ab'[i % 2]}" for i in range(40)]


def write_table(rows: list[str]) -> None:
    Path("table.csv").write_text("\n".join(["x,y", *rows]))


def save_run(data: ArrayDataModule) -> Run:
    """Write the parts of a run folder that its data are loaded from."""
    data.ensure_setup()
    run = Run(Path("run"))
    run.folder.mkdir()
    run.config.write_text(dump_yaml({"data": describe_datamodule(data)}))
    torch.save({"state_dict": {}, type(data).__qualname__: data.state_dict()}, run.best)
    assert data.split_record is not None
    data.split_record.save(run.split)
    return run


def test_samples_stay_in_their_split() -> None:
    write_table(ROWS)
    data = TableCSV("table.csv", "y")
    run = save_run(data)
    write_table(["99,b", *reversed(ROWS)])
    again = SavedRun.read(run).load_datamodule()
    inputs, targets = read_split(again, run, "test")[:]
    assert torch.equal(inputs, data.splits["test"][:][0])
    assert torch.equal(targets, data.splits["test"][:][1])


def test_classes_that_were_not_trained_on_are_refused() -> None:
    write_table(ROWS)
    run = save_run(TableCSV("table.csv", "y"))
    write_table([row.replace("b", "c") for row in ROWS])
    with pytest.raises(InputError, match="class"):
        read_split(SavedRun.read(run).load_datamodule(), run, "test")


def test_data_in_memory_are_not_read_again() -> None:
    rows = np.arange(80, dtype=np.float32).reshape(40, 2)
    run = save_run(ArrayData(rows, np.arange(40) % 2))
    data = SavedRun.read(run).load_datamodule()
    assert len(data.read_inputs(rows[:3])) == 3
    with pytest.raises(InputError, match="were in memory"):
        read_split(data, run, "test")


def test_missing_data() -> None:
    write_table(ROWS)
    run = save_run(TableCSV("table.csv", "y"))
    Path("table.csv").unlink()
    with pytest.raises(InputError, match=r"table\.csv"):
        read_split(SavedRun.read(run).load_datamodule(), run, "test")


def test_an_empty_split() -> None:
    write_table(ROWS)
    run = save_run(TableCSV("table.csv", "y", test_size=0))
    data = SavedRun.read(run).load_datamodule()
    with pytest.raises(InputError, match="the test split is empty"):
        read_split(data, run, "test")
    assert len(read_split(data, run, "val"))
