from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from litnets.data import ETTh1, ETTh2, SeriesCSV
from litnets.data.series.base import SeriesDataModule, SeriesWindows
from litnets.errors import InputError
from tests.helpers.tiny_series import ETT_CHANNELS, waves, write_ett, write_series

NAMES = ("load", "wind", "OT")


def ready(module: SeriesDataModule) -> SeriesDataModule:
    module.prepare_data()
    module.setup()
    return module


def series_csv(folder: Path, values: NDArray[np.float64] | None = None, **options: object) -> SeriesCSV:
    path = folder / "series.csv"
    write_series(path, waves(100, 3) if values is None else values, NAMES)
    return SeriesCSV(str(path), **{"look_back": 10, "horizon": 5} | options)  # type: ignore[arg-type]


# Windows


def test_windows_are_slices_of_the_series() -> None:
    values = torch.randn(50, 3)
    dataset = SeriesWindows(values, look_back=7, horizon=4)
    assert len(dataset) == 50 - 7 - 4 + 1
    inputs, targets = dataset[torch.tensor([0, 39, 5, 5])]
    for window, target, start in zip(inputs, targets, (0, 39, 5, 5), strict=True):
        np.testing.assert_array_equal(window, values.numpy()[start : start + 7])
        np.testing.assert_array_equal(target, values.numpy()[start + 7 : start + 11])
    for index in (0, 39):
        for one, many in zip(dataset[index], dataset[torch.tensor([index])], strict=True):
            assert isinstance(one, torch.Tensor)
            assert torch.equal(one, many[0])


def test_windows_are_views() -> None:
    values = torch.randn(1000, 3)
    dataset = SeriesWindows(values, look_back=70, horizon=40)
    for view in (dataset.inputs, dataset.targets):
        assert view.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
    assert dataset.inputs.untyped_storage().nbytes() == 1000 * 3 * 4


def reference_windows(
    values: NDArray[np.float64], look_back: int, horizon: int, start: int, end: int, train_end: int
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Slide a window over the scaled split and the `look_back` steps before it, as the code of Informer does."""
    mean, std = values[:train_end].mean(0), values[:train_end].std(0)
    part = (values[max(start - look_back, 0) : end] - mean) / std
    inputs, targets = [], []
    for first in range(len(part) - look_back - horizon + 1):
        inputs.append(part[first : first + look_back])
        targets.append(part[first + look_back : first + look_back + horizon])
    return inputs, targets


def test_batches_equal_the_reference(tmp_path: Path) -> None:
    values = waves(100, 3)
    module = ready(series_csv(tmp_path, values, val_size=0.2, test_size=0.3, eval_batch_size=7, batch_size=7))
    start = 0
    for split, end in (("train", 50), ("val", 70), ("test", 100)):
        loader = getattr(module, f"{split}_dataloader")()
        if split == "train":
            loader = module._loader("train", shuffle=False)
        batches = [module.on_after_batch_transfer(batch, 0) for batch in loader]
        inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
        expected = reference_windows(values, 10, 5, start, end, 50)
        np.testing.assert_allclose(inputs, np.stack(expected[0]), atol=1e-5)
        np.testing.assert_allclose(targets, np.stack(expected[1]), atol=1e-5)
        start = end


@pytest.mark.parametrize(("val_size", "test_size", "ends"), [(0.2, 0.3, (50, 70, 100)), (25, 15, (60, 85, 100))])
def test_the_number_of_windows_follows_from_the_sizes(
    tmp_path: Path, val_size: float, test_size: float, ends: tuple[int, int, int]
) -> None:
    splits = ready(series_csv(tmp_path, val_size=val_size, test_size=test_size)).splits
    assert len(splits["train"]) == ends[0] - 10 - 5 + 1
    assert len(splits["val"]) == ends[1] - ends[0] - 5 + 1
    assert len(splits["test"]) == ends[2] - ends[1] - 5 + 1


def test_a_split_of_exactly_one_window(tmp_path: Path) -> None:
    splits = ready(series_csv(tmp_path, waves(25, 3), val_size=5, test_size=5)).splits
    assert [len(part) for part in splits.values()] == [1, 1, 1]


# Scale


def test_the_scale_is_fitted_on_the_training_split_only(tmp_path: Path) -> None:
    values = waves(100, 3)
    changed = values.copy()
    changed[60:] = 1e4
    for series in (values, changed):
        module = series_csv(tmp_path, series)
        np.testing.assert_allclose(module.channel_mean, values[:60].mean(0), rtol=1e-12)
        np.testing.assert_allclose(module.channel_std, values[:60].std(0), rtol=1e-12)
    assert module.input_shape == (10, 3)
    assert module.channel_names == list(NAMES)


def test_a_constant_channel_becomes_zero(tmp_path: Path) -> None:
    values = waves(100, 3)
    values[:, 1] = 0.1
    module = series_csv(tmp_path, values)
    assert module.channel_std[1] == 1
    inputs, _ = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    assert inputs[..., 1].abs().max() < 1e-6


def test_a_checkpoint_restores_its_scale(tmp_path: Path) -> None:
    trained = ready(series_csv(tmp_path))
    state = trained.state_dict()
    for when in ("before", "after"):
        other = series_csv(tmp_path, 3 * waves(100, 3))
        if when == "after":
            other.setup()
        other.load_state_dict(state)
        other.setup()
        assert (other.channel_mean, other.channel_std) == (trained.channel_mean, trained.channel_std)
        inputs, _ = other.on_after_batch_transfer(next(iter(other.val_dataloader())), 0)
        raw = 3 * waves(100, 3)[50:60]
        np.testing.assert_allclose(inputs[0], (raw - trained.channel_mean) / trained.channel_std, atol=1e-4)


def test_a_checkpoint_of_other_channels_is_refused(tmp_path: Path) -> None:
    state = ready(series_csv(tmp_path)).state_dict()
    message = "trained on the channels load, wind, OT, but the data have OT, load; use"
    before, after = (series_csv(tmp_path, channels=["OT", "load"]) for _ in range(2))
    before.load_state_dict(state)
    with pytest.raises(InputError, match=message):
        ready(before)
    ready(after)
    with pytest.raises(InputError, match=message):
        after.load_state_dict(state)


# Files


def test_channels_and_time_column_are_options(tmp_path: Path) -> None:
    values = waves(100, 3)
    path = tmp_path / "series.csv"
    write_series(path, values, NAMES)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\ufeff" + "\r\n".join(",".join([*cells[1:], cells[0]]) for cells in lines) + "\r\n\r\n", "utf-8")
    module = SeriesCSV(str(path), 10, 5, time_column="date", channels=["OT", "load"])
    read, names, _ = module.read()
    np.testing.assert_array_equal(read, values[:, [2, 0]])
    assert names == ["OT", "load"]
    all_channels, names, _ = SeriesCSV(str(path), 10, 5, time_column="date").read()
    np.testing.assert_array_equal(all_channels, values)
    assert names == list(NAMES)


def test_quoted_cells_and_times_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text('t,"a, b"\n' + "".join(f'{t / 2},"{t}"\n' for t in range(60)))
    values, names, _ = SeriesCSV(str(path), 10, 5).read()
    np.testing.assert_array_equal(values, np.arange(60.0)[:, None])
    assert names == ["a, b"]


def replace(line: int, old: str, new: str) -> Callable[[list[str]], list[str]]:
    """Return a function that edits a line, counted from 1; `#2` stands for its third cell."""

    def edit(lines: list[str]) -> list[str]:
        cells = lines[line - 1].split(",")
        if old.startswith("#"):
            cells[int(old[1:])] = new
        else:
            assert old in lines[line - 1]
            cells = lines[line - 1].replace(old, new).split(",")
        return [*lines[: line - 1], ",".join(cells), *lines[line:]]

    return edit


def wind_in_line_7(cell: str) -> Callable[[list[str]], list[str]]:
    return replace(7, "#2", cell)


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (wind_in_line_7("nan"), {}, r"line 7, column 'wind': expected a number, got 'nan' \(1 such"),
        (wind_in_line_7(""), {}, r"line 7, column 'wind': expected a number, got '' \(1 such"),
        (wind_in_line_7("n/a"), {}, r"line 7, column 'wind': expected a number, got 'n/a' \(1 such"),
        (wind_in_line_7("inf"), {}, r"line 7, column 'wind': expected a number, got 'inf'"),
        (wind_in_line_7("1e39"), {}, r"line 7, column 'wind': expected a number, got '1e39'"),
        (
            lambda lines: lines,
            {"channels": ["lod"]},
            r"no column 'lod'; did you mean 'load'\? \(columns: date, load,",
        ),
        (lambda lines: lines, {"time_column": "dat"}, r"no column 'dat'; did you mean 'date'\?"),
        (lambda lines: lines, {"channels": []}, r"no channels: expected at least one"),
        (replace(9, "2016", "2015"), {}, r"line 9, column 'date': the time '2015-.*' is not later than the one before"),
        (
            replace(9, "07:00", "06:00"),
            {},
            r"line 9, column 'date': the time '.* 06:00:00' is not later than the one before",
        ),
        (replace(9, "07:00:00", "07:00:00+01:00"), {}, r"line 9, column 'date': .* is not later than the one before"),
        (replace(4, "2016-07-01", "1 July"), {}, r"line 4, column 'date': expected a time .* got '1 July 02:00:00'"),
        (
            lambda lines: [*lines[:5], lines[5] + ",1", *lines[6:]],
            {},
            r"line 6: expected 4 cells as in the header, got 5",
        ),
        (replace(1, "wind", "load"), {}, r"two columns are named 'load'"),
        (lambda lines: lines[:1], {}, r"expected a header and at least one row, got only a header"),
        (lambda lines: [], {}, r"series.csv: the file is empty"),
        (replace(5, "#1", '"1'), {}, r"not valid CSV: unexpected end of data"),
        (lambda lines: lines[:11], {}, r"look_back 10 and horizon 5 need 15 steps, but the series has 10"),
        (
            lambda lines: lines,
            {"look_back": 1000},
            r"look_back 1000 and horizon 5 need 1005 steps, but the series has 100",
        ),
        (
            lambda lines: lines,
            {"val_size": 4},
            r"the val split is too short: it has 4 of the 100 steps, but one window needs 5",
        ),
        (
            lambda lines: lines,
            {"val_size": 0},
            r"the val split is too short: it has 0 of the 100 steps, but one window needs 5",
        ),
        (
            lambda lines: lines,
            {"test_size": 4},
            r"the test split is too short: it has 4 of the 100 steps, but one window needs 5",
        ),
        (
            lambda lines: lines,
            {"val_size": 70},
            r"the train split is too short: it has 10 of the 100 steps, but one window needs 15",
        ),
        (lambda lines: lines, {"val_size": 0.9}, r"val_size, test_size: 90 \+ 20 of 100 steps leave none for training"),
        (lambda lines: lines, {"val_size": -1}, r"val_size: expected a fraction in \[0, 1\)"),
    ],
)
def test_invalid_files_and_options_are_refused(
    tmp_path: Path, damage: Callable[[list[str]], list[str]], options: dict[str, object], message: str
) -> None:
    module = series_csv(tmp_path, **options)
    module.path.write_text("\n".join(damage(module.path.read_text().splitlines())))
    with pytest.raises(InputError, match=message):
        ready(module)


def test_missing_values_are_counted_in_the_selected_channels_only(tmp_path: Path) -> None:
    values = waves(100, 3)
    values[[20, 30, 30], [1, 0, 1]] = np.nan
    with pytest.raises(InputError, match=r"line 22, column 'wind': .* \(3 such values in total\)"):
        ready(series_csv(tmp_path, values))
    assert ready(series_csv(tmp_path, values, channels=["OT"])).input_shape == (10, 1)


def test_files_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    module = series_csv(tmp_path)
    lines = module.path.read_bytes().splitlines()
    lines[3] += ",Köln".encode("latin-1")
    module.path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match=r"series.csv, line 4: not UTF-8 \(byte 0xf6 at offset \d+\)"):
        ready(module)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.csv: cannot be read: No such file"):
        ready(SeriesCSV(str(tmp_path / "none.csv")))
    with pytest.raises(InputError, match=r"expected a file, got a folder"):
        ready(SeriesCSV(str(tmp_path)))


@pytest.mark.parametrize("options", [{"look_back": 0}, {"horizon": 0}, {"horizon": -1}])
def test_windows_without_steps_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"(look_back|horizon): expected at least 1 step"):
        series_csv(tmp_path, **options)


# ETT


@pytest.mark.parametrize("cls", [ETTh1, ETTh2])
def test_ett_is_split_as_in_the_papers(cls: type[ETTh1], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cls.ends == (8640, 11520, 14400)
    values = write_ett(tmp_path, monkeypatch, cls, (600, 800, 1000))
    module = ready(cls(str(tmp_path), 48, 24))
    assert {n: len(s) for n, s in module.splits.items()} == {"train": 529, "val": 177, "test": 177}
    assert module.channel_names == list(ETT_CHANNELS)
    np.testing.assert_allclose(module.channel_mean, values[:600].mean(0))
    # The first validation input starts before the split; the last test target ends at its last step.
    inputs, _ = module.splits["val"][0]
    _, targets = module.splits["test"][-1]
    np.testing.assert_allclose(inputs, values[552:600], rtol=1e-6)
    np.testing.assert_allclose(targets, values[976:1000], rtol=1e-6)


def test_ett_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ett(tmp_path / "server", monkeypatch)
    monkeypatch.setattr(ETTh1, "url", (tmp_path / "server" / "ETT-small").as_uri() + "/")
    module = ready(ETTh1(str(tmp_path / "here"), 48, 24))
    assert len(module.splits["train"]) == 529
    monkeypatch.setattr(ETTh1, "url", "file:///nowhere/")
    assert len(ready(ETTh1(str(tmp_path / "here"), 48, 24)).splits["train"]) == 529
    with pytest.raises(InputError, match=r"could not be downloaded"):
        ready(ETTh1(str(tmp_path / "elsewhere"), 48, 24))


def test_a_corrupted_ett_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ett(tmp_path, monkeypatch)
    module = ETTh1(str(tmp_path), 48, 24)
    module.path.write_text(module.path.read_text()[:-20])
    with pytest.raises(InputError, match=r"ETTh1.csv is corrupted: its MD5 is \w+, expected \w+; delete it"):
        ready(module)


@pytest.mark.slow
def test_the_real_ett_files(real_data: Path) -> None:
    module = ready(ETTh1(str(real_data)))
    # 8640 - 336 - 96 + 1, and 2880 - 96 + 1 as in the papers' code.
    assert {n: len(s) for n, s in module.splits.items()} == {"train": 8209, "val": 2785, "test": 2785}
    assert module.channel_names == list(ETT_CHANNELS)
    table = np.genfromtxt(module.path, delimiter=",", skip_header=1, usecols=range(1, 8))
    assert table.shape == (17420, 7)
    for split, start, end in (("train", 0, 8640), ("val", 8640, 11520), ("test", 11520, 14400)):
        batches = [module.on_after_batch_transfer(batch, 0) for batch in module._loader(split, shuffle=False)]
        inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
        expected = reference_windows(table, 336, 96, start, end, 8640)
        assert len(inputs) == len(expected[0])
        for index in (0, 1, 1000, -1):
            np.testing.assert_allclose(inputs[index], expected[0][index], atol=1e-5)
            np.testing.assert_allclose(targets[index], expected[1][index], atol=1e-5)


# Folds


def steps_of(module: SeriesDataModule, split: str) -> tuple[list[int], list[int]]:
    """Return the input steps and the target steps of a split. The first channel must number the steps."""
    inputs, targets = zip(*getattr(module, f"{split}_dataloader")(), strict=True)
    input_steps, target_steps = (torch.cat(parts)[..., 0].long() for parts in (inputs, targets))
    assert (input_steps.max(1).values < target_steps.min(1).values).all(), "an input contains its target"
    return sorted(set(input_steps.flatten().tolist())), sorted(set(target_steps.flatten().tolist()))


def test_folds_use_an_expanding_window(tmp_path: Path) -> None:
    values = np.stack([np.arange(124.0)] * 3, 1)
    tested: list[int] = []
    for fold in range(4):
        module = ready(series_csv(tmp_path, values, num_folds=4, fold=fold, val_size=0.25, look_back=6, horizon=3))
        (inputs, train), (_, val), (_, test) = (steps_of(module, split) for split in ("train", "val", "test"))
        start = 28 + 24 * fold
        assert test == list(range(start, start + 24))
        assert max(inputs + train) < min(val) <= max(val) < min(test), "the splits are not in chronological order"
        assert val == list(range(start - round(0.25 * start), start))
        assert module.channel_mean[0] == pytest.approx(np.arange(min(val)).mean())
        tested += test
    assert tested == list(range(28, 124)), "the folds do not test each block after the first once"


def test_a_first_block_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the train split is too short: .* or fewer folds"):
        ready(series_csv(tmp_path, num_folds=9))


def test_folds_of_ett_expand_over_training_and_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = write_ett(tmp_path, monkeypatch, ends=(120, 200, 280))
    single = ready(ETTh1(str(tmp_path), 24, 6))
    for fold in range(4):
        module = ready(ETTh1(str(tmp_path), 24, 6, num_folds=4, fold=fold))
        start = 40 * (fold + 1)
        assert len(module.splits["train"]) == start - 29
        first, last = module.splits["val"][0], module.splits["val"][len(module.splits["val"]) - 1]
        np.testing.assert_array_equal(first[1].numpy(), values[start : start + 6].astype(np.float32))
        np.testing.assert_array_equal(last[1].numpy(), values[start + 34 : start + 40].astype(np.float32))
        np.testing.assert_allclose(module.channel_mean, values[:start].mean(0))
        for index in (0, len(single.splits["test"]) - 1):
            assert torch.equal(module.splits["test"][index][1], single.splits["test"][index][1])
        assert len(module.splits["test"]) == len(single.splits["test"])
