"""TableCSV: which columns are inputs, what a checkpoint recognizes, and the formats that files come in."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from litnets.data import TableCSV
from litnets.errors import InputError

NAMES = ["Ann", "Bob", "Cem", "Dora"]


def table(header: str, rows: list[str] | str, target: str | list[str] = "y", **arguments: Any) -> TableCSV:
    """Return TableCSV of a CSV file with these rows."""
    text = rows if isinstance(rows, str) else "".join(f"{row}\n" for row in rows)
    Path("t.csv").write_bytes(f"{header}\n{text}".encode())
    return ready(TableCSV("t.csv", target, **arguments))


def ready(module: TableCSV) -> TableCSV:
    module.setup()
    return module


def encoded(module: TableCSV, rows: str) -> torch.Tensor:
    """Return new rows as a network gets them."""
    Path("new.csv").write_text(rows)
    module.predict_path = Path("new.csv")
    return module.prepare(module.load_predict(module.predict_path).inputs)


# Classes as written


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["01", "1", "02"], ["01", "1", "02"]),
        (["1E2", "10E1", "1E3"], ["10E1", "1E2", "1E3"]),
        (["9007199254740992", "9007199254740993"], ["9007199254740992", "9007199254740993"]),
        (["10", "9"], ["9", "10"]),
        (["1.0", "2.5"], ["1.0", "2.5"]),
    ],
)
def test_classes_are_compared_as_written(labels: list[str], classes: list[str]) -> None:
    rows = [f"{i % 5},{labels[i % len(labels)]}" for i in range(30)]
    module = table("x,y", rows, task="classification")
    assert module.class_names == classes
    named = [classes[index] for index in module.table.targets.tolist()]
    assert named == [labels[i % len(labels)] for i in range(30)]


def test_large_integer_classes_of_a_parquet_file_stay_apart() -> None:
    pl.DataFrame({"x": [1, 5, 3] * 8, "y": [2**53, 2**53 + 1] * 12}).write_parquet("t.parquet")
    assert ready(TableCSV("t.parquet", "y")).class_names == [str(2**53), str(2**53 + 1)]


def test_classes_that_are_the_same_number_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    table("x,y", [f"{i % 5},{['01', '1'][i % 2]}" for i in range(30)])
    assert "t.csv: target 'y': '01' and '1' are different classes, as written\n" in capsys.readouterr().out


def test_new_rows_may_write_categories_differently(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 3},{str(i % 2 == 0).lower()},{i % 7},{i % 2}" for i in range(30)]
    module = table("code,flag,x,y", rows, categorical=["code"])
    expected = encoded(module, "code,flag,x\n1,true,3\n2,false,4\n")
    assert expected[:, 1:].tolist() == [[0, 1, 0, 0, 1], [0, 0, 1, 1, 0]]
    assert torch.equal(encoded(module, "code,flag,x\n1.0,True,3\n2.0,False,4\n"), expected)
    assert "unseen" not in capsys.readouterr().out
    encoded(module, "code,flag,x\n3,yes,3\n")
    assert "column 'code': unseen in training, read as missing: '3'" in capsys.readouterr().out


def test_a_checkpoint_recognizes_classes_that_only_look_different() -> None:
    trained = table("x,y", [f"{i % 5},{i % 2}" for i in range(30)])
    again = table("x,y", [f"{i % 5},{i % 2}.0" for i in range(30)], task="classification")
    assert again.class_names == ["0.0", "1.0"]
    again.load_state_dict(trained.state_dict())
    assert again.class_names == ["0", "1"]
    assert torch.equal(again.table.targets, trained.table.targets)
    assert again.state_dict() == trained.state_dict()


def test_splits_that_are_read_after_a_checkpoint_are_encoded_like_new_rows() -> None:
    """The preparation of a loaded network is built before the splits are read, and must fit their rows."""
    module = table("code,x,y", [f"c{i // 2},{i % 7},{i % 2}" for i in range(60)])
    trained = module.splits["train"].indices
    assert len(set(module.table.inputs[trained, 1].tolist())) < 30  # some categories are only in the other splits
    again = TableCSV("t.csv", "y")
    again.restore_for_inputs(module.state_dict())
    prepare = again.preparation()
    again.predict_path = None
    again.ensure_setup()
    for part in ("train", "val", "test"):
        expected = module.prepare(module.splits[part][:][0])
        assert torch.equal(prepare(again.splits[part][:][0]), expected)
        assert torch.equal(again.prepare(again.splits[part][:][0]), expected)


def test_a_checkpoint_from_before_dates_keeps_its_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    """Earlier versions used row numbers, one-hot encoded names and dates, and merged equal numbers into one class."""
    days = [date(2024, 1, 1) + timedelta(i % 4) for i in range(20)]
    rows = [f"{i},name {i},{days[i]},{i % 7},{['1', '01', '2'][i % 3]}" for i in range(20)]
    module = table("id,name,day,x,y", rows)
    assert module.table.columns[0] == "x"
    names = sorted(f"name {i}" for i in range(20))
    state = {
        "median": [9.0, 3.0],
        "mean": [9.5, 3.0],
        "std": [5.0, 2.0],
        "columns": ["id", "x", "name", "day"],
        "categories": [names, sorted({str(day) for day in days})],
        "class_names": ["1", "2"],
    }
    capsys.readouterr()
    module.load_state_dict(state)
    assert module.input_shape == (2 + 20 + 4,)
    assert module.class_names == ["1", "2"]
    assert module.table.targets.tolist() == [[0, 0, 1][i % 3] for i in range(20)]
    assert encoded(module, "id,name,day,x\n19.5,name 3,2024-01-02,5\n").sum() == 2 + 1 + 2
    assert capsys.readouterr().out == ""


def test_a_damaged_encoding_is_refused() -> None:
    module = table("x,y", [f"{i % 5},{i % 2}" for i in range(30)])
    for state in ({}, {"columns": ["x"]}, {**module.state_dict(), "dates": {"day": 5}}, "x"):
        with pytest.raises(InputError, match="does not say how its table was encoded"):
            module.load_state_dict(state)  # type: ignore[arg-type]


# Columns that identify rows, and dates

HEADER = "id,name,day,x,y"
ROWS = [f"{i + 1},person {i},2024-{i % 12 + 1:02}-{i % 28 + 1:02},{i % 7},{i % 2}" for i in range(40)]


def test_ids_and_free_texts_are_left_out_and_dates_become_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    module = table(HEADER, ROWS)
    parts = ["days", "year sin", "year cos", "weekday sin", "weekday cos"]
    assert module.table.columns == ["x", *(f"day ({part})" for part in parts)]
    assert module.input_shape == (6,)
    days = [(date(2024, i % 12 + 1, i % 28 + 1) - date(1970, 1, 1)).days for i in range(40)]
    assert module.table.inputs[:, 1].tolist() == days
    assert module.table.inputs.isfinite().all()
    assert (
        "t.csv: left out 'id' (numbers the rows), 'name' (40 different texts in 40 rows); to use a column: "
        '--data.keep_columns "[NAME]"\n'
    ) in capsys.readouterr().out
    uses = {column.name: (column.kind, column.distinct, column.use) for column in module.table.summary}
    assert uses["id"] == ("integer", 40, "left out: numbers the rows")
    assert uses["day"] == ("date", 40, "date as 5 numbers")
    assert uses["x"] == ("integer", 7, "scaled number")
    assert uses["y"] == ("integer", 2, "target: 2 classes")


def test_columns_may_be_kept() -> None:
    module = table(HEADER, ROWS, keep_columns=["id", "name"], categorical=["day"])
    assert module.table.columns == ["id", "x", "name", "day"]
    with pytest.raises(InputError, match="keep_columns: 'id' is also listed in ignore"):
        TableCSV("t.csv", "y", keep_columns=["id"], ignore=["id"])
    with pytest.raises(InputError, match="no column 'ids'; did you mean 'id'"):
        table(HEADER, ROWS, keep_columns=["ids"])


@pytest.mark.parametrize(
    ("column", "is_left_out"),
    [
        (range(40), True),
        (range(5, 45), True),
        ([(7 * i) % 40 for i in range(40)], True),  # row numbers in another order
        ([2 * i for i in range(40)], False),
        ([i // 2 for i in range(40)], False),
        ([i + 0.5 for i in range(40)], False),
        ([f"n{i}" for i in range(40)], True),
        ([f"n{i % 36}" for i in range(40)], False),
        ([f"n{i}" if i % 4 == 0 else "" for i in range(40)], True),  # different wherever it is present
        (["same"] * 40, False),
    ],
)
def test_which_columns_identify_rows(column: Any, is_left_out: bool) -> None:
    module = table("c,x,y", [f"{value},{i % 7},{i % 2}" for i, value in enumerate(column)])
    assert ("c" not in module.table.columns) == is_left_out


@pytest.mark.parametrize(("categories", "is_reported"), [(30, True), (15, False)])
def test_columns_of_rare_categories_are_reported(
    categories: int, is_reported: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    module = table("ticket,x,y", [f"t{i % categories},{i % 7},{i % 2}" for i in range(40)])
    assert module.table.columns == ["x", "ticket"]
    note = f"t.csv: most categories are rare: 'ticket' ({categories}); consider --data.ignore"
    groups = ", or --data.group_column if rows of a category belong together"
    assert (f"{note}{groups}" in capsys.readouterr().out.splitlines()) == is_reported


def test_the_only_column_is_never_left_out() -> None:
    assert table("x,y", [f"{i},{i % 2}" for i in range(20)]).table.columns == ["x"]


def test_new_dates_are_read_as_in_training() -> None:
    rows = [f"{i % 28 + 1}/02/2024,{i % 7},{i % 2}" for i in range(40)]
    trained = table("day,x,y", rows)
    fresh = TableCSV("gone.csv", "y", predict_path="new.csv")
    fresh.load_state_dict(trained.state_dict())
    new = encoded(fresh, "day,x\n01/02/2024,1\n2024-02-01,1\n,1\n")
    assert torch.equal(new[0], new[1]), "the first number is the day, as in training"
    assert new.isfinite().all()
    assert torch.equal(new, encoded(trained, "day,x\n01/02/2024,1\n2024-02-01,1\n,1\n"))
    with pytest.raises(InputError, match=r"column 'day', row 2: expected a date as in training .*, got 'soon'"):
        encoded(fresh, "day,x\n01/02/2024,1\nsoon,1\n")


def test_dates_of_unknown_order_are_texts_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    module = table("day,x,y", [f"0{i % 4 + 1}/02/2024,{i % 7},{i % 2}" for i in range(40)])
    assert module.table.columns == ["x", "day"]
    assert "column 'day': dates such as '01/02/2024' may start with the day or the month" in capsys.readouterr().out


def test_dates_of_parquet_files_become_numbers() -> None:
    days = pl.Series("day", range(20), dtype=pl.Int32).cast(pl.Date)
    pl.DataFrame({"day": days, "y": [0, 1] * 10}).write_parquet("t.parquet")
    module = ready(TableCSV("t.parquet", "y"))
    assert module.table.inputs[:, 0].tolist() == list(range(20))
    far = pl.Series("day", [2**31 - 1] * 20, dtype=pl.Int32).cast(pl.Date)
    pl.DataFrame({"day": far, "y": [0, 1] * 10}).write_parquet("t.parquet")
    with pytest.raises(InputError, match="column 'day', row 1: expected a date in the years 1 to 9999"):
        ready(TableCSV("t.parquet", "y"))


@pytest.mark.parametrize(
    ("values", "task", "note"),
    [
        (
            5,
            None,
            "target 'y' has 5 different whole numbers, read as classes; to change that, set --data.task regression",
        ),
        (30, None, "30 different whole numbers, read as numbers; to change that, set --data.task classification"),
        (2, None, None),
        (150, None, None),
        (5, "regression", None),
    ],
)
def test_what_whole_number_targets_are_read_as_is_reported(
    values: int, task: Any, note: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    table("x,y", [f"{i * i % 31},{i % values}" for i in range(300)], task=task)
    out = capsys.readouterr().out
    assert note in out if note else "whole numbers" not in out


# File formats

PLAIN = [f"{i / 4},{'ab'[i % 2]},{i % 3}" for i in range(24)]


def same_as_plain(module: TableCSV) -> None:
    expected = table("x,t,y", PLAIN)
    assert module.table.columns == expected.table.columns == ["x", "t"]
    assert torch.equal(module.table.inputs, expected.table.inputs)
    assert torch.equal(module.table.targets, expected.table.targets)


def with_index(number: int, row: str) -> str:
    return f"{3 * number},{row}"


@pytest.mark.parametrize(
    "content",
    [
        "\r".join(["x,t,y", *PLAIN]),
        "\r".join(["x,t,y", *PLAIN, ""]),
        "\r\n".join(["x,t,y", *PLAIN]),
        "\ufeff" + "\n".join(["x,t,y", *PLAIN]),
        "\n".join(["x,t,y,", *(f"{row}," for row in PLAIN)]),
        "\n".join(["x,t,y,,", *(f"{row},," for row in PLAIN)]),
        "\n".join(["x,t,y", *(f"{row}," for row in PLAIN)]),
        "\n".join(["x,t,y,", *PLAIN]),
        "\n".join([",x,t,y", *(with_index(i, row) for i, row in enumerate(PLAIN))]),
        "\n".join(["Unnamed: 0,x,t,y", *(with_index(i, row) for i, row in enumerate(PLAIN))]),
        "\n".join(["x,t,y", *PLAIN]).replace(",", ";"),
        "\n".join(["x,t,y", *PLAIN]).replace(",", "\t"),
        "\n".join(["x,t,y", *PLAIN]).replace(",", ";").replace(".", ","),
    ],
    ids=["cr", "cr-end", "crlf", "bom", *["trailing"] * 4, "index", "pandas", "semicolon", "tab", "decimal"],
)
def test_files_are_read_as_people_have_them(content: str) -> None:
    Path("other.csv").write_bytes(content.encode())
    same_as_plain(ready(TableCSV("other.csv", "y")))


def test_the_index_of_pandas_in_a_parquet_file_is_left_out() -> None:
    x, t, y = zip(*(row.split(",") for row in PLAIN), strict=True)
    frame = {"x": map(float, x), "t": t, "y": map(int, y), "__index_level_0__": [5 * i for i in range(24)]}
    pl.DataFrame({name: list(values) for name, values in frame.items()}).write_parquet("t.parquet")
    same_as_plain(ready(TableCSV("t.parquet", "y")))


@pytest.mark.parametrize(
    ("cells", "decimal", "values"),
    [
        (["0,5", "1,25", "3"], None, [0.5, 1.25, 3]),
        (["1.234,5", "2", "0,123"], None, [1234.5, 2, 0.123]),
        (["1,234.5", "2", "3"], None, [1234.5, 2, 3]),
        (["1,234", "2,500", "3"], ",", [1.234, 2.5, 3]),
        (["1,234", "2,500", "3"], ".", [1234, 2500, 3]),
        (["1.234", "2.500", "3"], ",", [1234, 2500, 3]),
        (["1.234", "2.500", "3"], None, [1.234, 2.5, 3]),
    ],
)
def test_decimal_separators(cells: list[str], decimal: Any, values: list[float]) -> None:
    module = table("x;y", [f"{cells[i % 3]};{i % 2}" for i in range(24)], decimal=decimal)
    torch.testing.assert_close(module.table.inputs[:3, 0], torch.tensor(values, dtype=torch.float32))
    other = encoded(module, f"x;y\n{cells[0]};\n{cells[1]};\n{cells[2]};\n")
    torch.testing.assert_close(other, module.prepare(module.table.inputs[:3]))


def test_one_column_with_decimal_commas_decides_for_the_file() -> None:
    rows = [f"{i},5;1,{100 + i};{i % 2}" for i in range(24)]
    assert table("a;b;y", rows).table.inputs[3, 1].item() == pytest.approx(1.103)


def test_a_comma_that_may_separate_decimals_or_thousands_is_refused() -> None:
    with pytest.raises(InputError, match=r"column 'x', row 1: '1,200' has a comma, .* set --data\.decimal to ',' or"):
        table("x;y", [f"1,{200 + i};{i % 2}" for i in range(24)])


def test_tables_without_a_header() -> None:
    Path("t.csv").write_text("\n".join(PLAIN))
    module = ready(TableCSV("t.csv", "column_3", header=False))
    assert module.table.columns == ["column_1", "column_2"]
    assert len(module.table.inputs) == 24
    with pytest.raises(InputError, match=r"no column 'y' .*; set --data\.header false if the first line is data"):
        ready(TableCSV("t.csv", "y"))
    Path("t.csv").write_text("\n".join([*PLAIN, "1,a,1,9"]))
    with pytest.raises(InputError, match=r"line 25: expected 3 cells as in the first line, got 4"):
        ready(TableCSV("t.csv", "column_3", header=False))


def test_a_first_line_that_looks_like_data_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text("\n".join(PLAIN))
    ready(TableCSV("t.csv", "0"))
    assert "t.csv: the first line was read as column names but looks like data" in capsys.readouterr().out
    for header in ("x,2,y", "0,1,y", "2019,2020,y"):
        table(header, [f"{i / 4},{i % 3},{'ab'[i % 2]}" for i in range(20)])
        assert "looks like data" not in capsys.readouterr().out
    with pytest.raises(InputError, match=r"two columns are named '1'; rename one, or set --data\.header false if"):
        table("1,1,0", [f"{i},{i % 3},{i % 2}" for i in range(20)])


# Predefined splits


def write_splits(**files: str) -> None:
    """Write a table with a row `step,step % 2` for each step of a range `start-end`, by file name."""
    for name, steps in files.items():
        start, end = map(int, steps.split("-"))
        rows = "".join(f"{i},{i % 2}\n" for i in range(start, end))
        Path("data", f"{name}.csv").write_text(f"x,y\n{rows}")


def steps_of(module: TableCSV) -> dict[str, list[int]]:
    return {name: sorted(part[:][0][:, 0].int().tolist()) for name, part in module.splits.items()}  # type: ignore[index]


@pytest.fixture(autouse=True)
def data_folder() -> None:
    Path("data").mkdir()


def test_files_of_splits_in_a_folder_are_used_as_they_are() -> None:
    write_splits(train="0-20", dev="20-24", test="24-30")
    module = ready(TableCSV("data", "y"))
    assert steps_of(module) == {"train": [*range(20)], "val": [*range(20, 24)], "test": [*range(24, 30)]}
    assert module.statistics["median"] == [9.5]
    named = ready(TableCSV("data/train.csv", "y", val_path="data/dev.csv", test_path="data/test.csv"))
    assert steps_of(named) == steps_of(module)


@pytest.mark.parametrize(
    ("arguments", "sizes", "fixed"),
    [
        ({"test_path": "data/b.csv"}, {"train": 16, "val": 4, "test": 6}, ("test", range(24, 30))),
        ({"val_path": "data/b.csv"}, {"train": 16, "val": 6, "test": 4}, ("val", range(24, 30))),
        ({"test_path": "data/b.csv", "num_folds": 4}, {"train": 15, "val": 5, "test": 6}, ("test", range(24, 30))),
    ],
)
def test_the_other_splits_are_taken_from_the_training_file(
    arguments: dict[str, Any], sizes: dict[str, int], fixed: tuple[str, range]
) -> None:
    write_splits(a="0-20", b="24-30")
    module = ready(TableCSV("data/a.csv", "y", **arguments))
    steps = steps_of(module)
    assert {name: len(part) for name, part in steps.items()} == sizes
    assert steps.pop(fixed[0]) == list(fixed[1])
    assert sorted(step for part in steps.values() for step in part) == list(range(20))


def test_a_recorded_predefined_split_is_kept() -> None:
    write_splits(train="0-20", test="20-26")
    first = ready(TableCSV("data", "y"))
    again = TableCSV("data", "y")
    again.recorded_split = first.split_record
    again.setup()
    assert steps_of(again) == steps_of(first)
    assert not again.data_changes


def test_files_beside_the_training_file_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_splits(train="0-20", dev="20-24", test="24-30", notes="0-5")
    ready(TableCSV("data/train.csv", "y", test_path="data/test.csv"))
    assert capsys.readouterr().out.splitlines() == ["data: dev.csv not used; to use it as a split, set --data.val_path"]
    ready(TableCSV("data/notes.csv", "y", val_size=1, test_size=1))
    assert "not used" not in capsys.readouterr().out


def test_rows_of_several_files_are_named_by_their_file() -> None:
    write_splits(train="0-20", test="20-26")
    Path("data/test.csv").write_text("y,x\n1,20\n0,twenty\n")
    with pytest.raises(InputError, match=r"data/test.csv: column 'x', row 2: expected a number as in most rows"):
        ready(TableCSV("data", "y"))
    Path("data/test.csv").write_text("x\n20\n21\n")
    with pytest.raises(
        InputError, match=r"data/test.csv: no column 'y' .*To leave test.csv out, set --data.path to data"
    ):
        ready(TableCSV("data", "y"))


def test_a_split_is_named_once() -> None:
    write_splits(train="0-20", test="20-26", more="26-30")
    with pytest.raises(InputError, match=r"test_path: data/more.csv, but data has test.csv; remove one of them"):
        ready(TableCSV("data", "y", test_path="data/more.csv"))
    Path("empty").mkdir()
    with pytest.raises(InputError, match="empty: expected a file, got a folder"):
        ready(TableCSV("empty", "y"))
