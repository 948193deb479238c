from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litnets.data import SeriesCSV
from litnets.data.series.reading import read_series
from litnets.errors import InputError

PERIODS = {
    "months": [f"{1970 + i // 12}-{i % 12 + 1:02}" for i in range(60)],
    "quarters": [f"{1970 + i // 4}Q{i % 4 + 1}" for i in range(60)],
    "other quarters": [f"{1970 + i // 4}-Q{i % 4 + 1}" for i in range(60)],
    "other months": [f"{1970 + i // 12}M{i % 12 + 1:02}" for i in range(60)],
    "years": [str(1970 + i) for i in range(60)],
    "weeks": [f"{1970 + i // 52}-W{i % 52 + 1:02}" for i in range(60)],
    "days": [f"1970-{i // 28 + 1:02}-{i % 28 + 1:02}" for i in range(60)],
}


def write_columns(path: Path, header: str, *columns: Sequence[Any]) -> None:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n")


@pytest.mark.parametrize("kind", PERIODS)
def test_periods_are_times(kind: str, tmp_path: Path) -> None:
    write_columns(tmp_path / "a.csv", "when,sales", PERIODS[kind], range(60))
    series = read_series(tmp_path / "a.csv", 0)
    assert series.channels == ["sales"]
    assert series.values[:, 0].tolist() == list(range(60))
    assert series.times == PERIODS[kind]
    disordered = [*PERIODS[kind][:7], PERIODS[kind][5], *PERIODS[kind][8:]]
    write_columns(tmp_path / "a.csv", "when,sales", disordered, range(60))
    with pytest.raises(InputError, match=rf"line 9, column 'when': the time '{disordered[7]}' is not later"):
        read_series(tmp_path / "a.csv", 0)


def test_the_first_cell_that_is_not_a_time_is_named(tmp_path: Path) -> None:
    for wrong in ("1970-13", "soon", "1970-02-30", "4.5"):
        cells = [*PERIODS["months"][:8], wrong, *PERIODS["months"][9:]]
        write_columns(tmp_path / "a.csv", "when,sales", cells, range(60))
        with pytest.raises(InputError, match=rf"line 10, column 'when': expected a time .*, got '{wrong}'"):
            read_series(tmp_path / "a.csv", 0)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
@pytest.mark.parametrize("start", [0, 1])
def test_row_numbers_without_a_name_are_skipped(name: str, start: int, tmp_path: Path) -> None:
    numbers = range(start, start + 60)
    write_columns(tmp_path / "a.csv", f"{name},date,x,y", numbers, PERIODS["days"], range(60), range(60))
    for time_column in (0, "date"):
        series = read_series(tmp_path / "a.csv", time_column)
        assert series.channels == ["x", "y"]
        assert series.times == PERIODS["days"]
    write_columns(tmp_path / "a.csv", f"{name},x,y", numbers, range(60), range(60))
    assert read_series(tmp_path / "a.csv", None).channels == ["x", "y"]  # no time column
    series = read_series(tmp_path / "a.csv", 0)  # the row numbers are the only time
    assert (series.channels, series.times[-1]) == (["x", "y"], str(start + 59))
    assert read_series(tmp_path / "a.csv", None, [name, "x"]).channels == [name, "x"]


def test_row_numbers_with_a_name_are_the_problem(tmp_path: Path) -> None:
    write_columns(tmp_path / "a.csv", "No,month,x", range(1, 61), PERIODS["months"], range(60))
    with pytest.raises(InputError, match=r"column 'No' numbers the rows, and column 'month' holds the times; set"):
        read_series(tmp_path / "a.csv", 0)
    assert read_series(tmp_path / "a.csv", "month", ["x"]).times == PERIODS["months"]
    assert read_series(tmp_path / "a.csv", 0, ["x"]).times[0] == "1"
    with pytest.raises(InputError, match=r"column 'month': expected a number, .*; set --data.time_column month"):
        read_series(tmp_path / "a.csv", None)
    write_columns(tmp_path / "a.csv", ",x,y", range(60), ["nan", *range(59)], range(60))
    with pytest.raises(InputError, match=r"line 2, column 'x': expected a number, got 'nan' .*; fill them or remove"):
        read_series(tmp_path / "a.csv", 0)


def test_a_file_may_have_no_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_columns(tmp_path / "a.csv", "1969-12,-1.5,0.25", PERIODS["months"], range(60), np.arange(60) / 7)
    module = SeriesCSV(str(tmp_path / "a.csv"), 5, 2, header=False)
    values, names, _ = module.read()
    assert (names, len(values), values[0].tolist()) == (["column_2", "column_3"], 61, [-1.5, 0.25])
    assert SeriesCSV(str(tmp_path / "a.csv"), 5, 2, header=False, channels=["column_3"]).read()[1] == ["column_3"]
    module.setup()
    assert module.load_predict(tmp_path / "a.csv").inputs[0, -1].tolist() == pytest.approx([59, 59 / 7])
    assert capsys.readouterr().out == ""
    SeriesCSV(str(tmp_path / "a.csv"), 5, 2).read()
    note = f"{tmp_path}/a.csv: the first line was read as column names but looks like data; see --data.header false\n"
    assert capsys.readouterr().out == note
    write_columns(tmp_path / "a.csv", "time,0,1", PERIODS["months"], range(60), range(60))
    SeriesCSV(str(tmp_path / "a.csv"), 5, 2).read()  # the names that pandas gives to the columns of an array
    assert capsys.readouterr().out == ""


def write_splits(folder: Path, **sizes: int) -> Path:
    """Write consecutive months and the series 0, 1, 2 ... into a file for each split."""
    start = 0
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        months = [f"{1900 + i // 12}-{i % 12 + 1:02}" for i in range(start, start + size)]
        write_columns(folder / f"{name}.csv", "month,x,y", months, range(start, start + size), range(size))
        start += size
    return folder


@pytest.mark.parametrize(
    "names", [("train", "dev", "test"), ("Train", "VALID", "Test"), ("a_train", "a_val", "a_test")]
)
def test_the_files_of_splits_follow_each_other(names: tuple[str, str, str], tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "s", **dict(zip(names, (30, 12, 20), strict=True)))
    values, channels, step_ranges = SeriesCSV(str(folder), 6, 3).read()
    assert (channels, values[:, 0].tolist()) == (["x", "y"], list(range(62)))
    assert step_ranges == [(0, 30), (30, 42), (42, 62)]
    module = SeriesCSV(str(folder), 6, 3)
    module.setup()
    assert module.splits["test"].targets[module.splits["test"].indices, 0, 0].min() == 42
    assert module.scale.mean[0] == pytest.approx(np.arange(30).mean())


def test_without_a_file_validation_is_the_end_of_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_splits(tmp_path / "s", train=30, test=20)
    assert SeriesCSV(str(folder), 6, 3, val_size=0.2).read()[2] == [(0, 24), (24, 30), (30, 50)]
    paths = {"path": str(folder / "train.csv"), "test_path": str(folder / "test.csv")}
    assert SeriesCSV(**paths, look_back=6, horizon=3, val_size=5).read()[2] == [(0, 25), (25, 30), (30, 50)]
    assert capsys.readouterr().out == ""
    assert SeriesCSV(str(folder / "train.csv"), 6, 3).read()[2] == [(0, 18), (18, 24), (24, 30)]
    assert capsys.readouterr().out == f"{folder}: test.csv not used; to use it as a split, set --data.test_path\n"


def test_files_that_cannot_be_the_splits_of_a_series_are_refused(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "s", test=20, train=30)
    with pytest.raises(InputError, match=r"test.csv: its first time '1900-01' is not later than '1904-02', the"):
        SeriesCSV(str(folder), 6, 3).read()
    folder = write_splits(tmp_path / "val", train=30, val=20)
    with pytest.raises(InputError, match=r"a validation split without a test split after it; set --data.test_path"):
        SeriesCSV(str(folder), 6, 3).read()
    folder = write_splits(tmp_path / "folds", train=30, test=20)
    with pytest.raises(InputError, match=r"num_folds: expected a single file, but the test split has its own"):
        SeriesCSV(str(folder), 6, 3, num_folds=3).read()
    write_columns(folder / "test.csv", "month,x,z", ["1950-01"], [1], [2])
    with pytest.raises(InputError, match=r"test.csv: no column 'y'"):
        SeriesCSV(str(folder), 6, 3).read()
