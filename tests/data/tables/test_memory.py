"""Rows from memory are encoded like those of the file that a table was trained on."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from litnets.data import TableCSV
from litnets.errors import InputError


@pytest.fixture
def trained() -> TableCSV:
    rows = [f"2024-{i % 12 + 1:02}-{i % 28 + 1:02},{i % 7},{['1', '2'][i % 2]},{i % 2}" for i in range(40)]
    Path("t.csv").write_text("\n".join(["day,x,code,y", *rows]))
    data = TableCSV("t.csv", "y", categorical=["code"])
    data.setup()
    return data


@pytest.mark.parametrize("day", [date(2024, 3, 3), "2024-03-03", datetime(2024, 3, 3)])
@pytest.mark.parametrize("code", [1, 1.0, "1", "1.0"])
def test_rows_are_encoded_like_those_of_a_file(trained: TableCSV, day: Any, code: Any) -> None:
    (row,) = (trained.table.inputs[:, 1] == (date(2024, 3, 3) - date(1970, 1, 1)).days).nonzero()
    expected = trained.table.inputs[row]
    inputs = {"code": code, "x": expected[0, 0].item(), "day": day}
    for form in (inputs, [inputs], pl.DataFrame([inputs])):
        assert torch.equal(trained.read_inputs(form).inputs, expected)


def test_an_array_has_no_place_for_categories_and_dates(trained: TableCSV) -> None:
    with pytest.raises(InputError, match="column 'code' is categorical, which an array of numbers cannot hold"):
        trained.read_inputs(torch.zeros(3, 7))
    Path("d.csv").write_text("\n".join(["day,y", *(f"2024-01-{i % 28 + 1:02},{i % 2}" for i in range(40))]))
    dates = TableCSV("d.csv", "y")
    with pytest.raises(InputError, match="column 'day' is a date, which an array of numbers cannot hold"):
        dates.read_inputs(torch.zeros(3, 5))


def test_a_missing_column_is_named(trained: TableCSV) -> None:
    with pytest.raises(InputError, match=r"the table: no column 'day' \(columns: x, code\)"):
        trained.read_inputs({"x": 1, "code": 1})
