from pathlib import Path

import numpy as np
import pytest
import torch

from litnets.data import SeriesFolder
from litnets.errors import InputError
from tests.helpers.tiny_series import waves, write_series, write_series_folder


def ready(root: Path, **options: object) -> SeriesFolder:
    module = SeriesFolder(str(root), **options)  # type: ignore[arg-type]
    module.prepare_data()
    module.setup()
    return module


def test_batches_hold_the_scaled_series_of_the_files(tmp_path: Path) -> None:
    series = write_series_folder(tmp_path)
    module = ready(tmp_path, batch_size=5)
    assert module.class_names == ["fast", "slow"]
    assert module.num_classes == 2
    assert module.input_shape == (None, 2)
    train = [series[i][0] for i in module.splits["train"].indices.tolist()]
    mean, std = np.concatenate(train).mean(0), np.concatenate(train).std(0)
    count = 0
    for split in ("train", "val", "test"):
        part = module.splits[split]
        loader = getattr(module, f"{split}_dataloader")()
        for chosen, batch in zip(loader.batch_sampler, loader, strict=True):
            (values, lengths), targets = module.on_after_batch_transfer(batch, 0)
            assert values.shape[1] == lengths.max()
            for number, index in enumerate(part.indices[chosen].tolist()):
                expected, name = series[index]
                assert lengths[number] == len(expected)
                np.testing.assert_allclose(values[number, : len(expected)], (expected - mean) / std, atol=1e-5)
                assert not values[number, len(expected) :].any()
                assert module.class_names[targets[number]] == name
                count += 1
    assert count == len(series)


def test_the_scale_is_fitted_on_the_training_split_or_restored(tmp_path: Path) -> None:
    series = write_series_folder(tmp_path)
    module = ready(tmp_path)
    for split in ("val", "test"):
        for index in module.splits[split].indices.tolist():
            _, name = series[index]
            write_series(tmp_path / name / f"{index % 12:02}.csv", 1e4 * waves(8, 2, index), ("x", "y"), time=None)
    again = ready(tmp_path)
    assert again.state_dict() == module.state_dict()
    other = SeriesFolder(str(tmp_path))
    state = {"channel_names": ["x", "y"], "channel_mean": [1.0, 2.0], "channel_std": [3.0, 4.0]}
    other.load_state_dict({**state, "class_names": other.class_names})
    other.setup()
    assert other.state_dict()["channel_std"] == [3.0, 4.0]


def test_a_channel_that_increases_in_every_series_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("slow", "fast"):
        (tmp_path / kind).mkdir()
        for number in range(8):
            rows = [f"{10 * number + step},{(-1) ** step}" for step in range(6)]
            (tmp_path / kind / f"{number}.csv").write_text("clock,x\n" + "\n".join(rows) + "\n")
    ready(tmp_path)
    line = "'clock' increases in every series; if it is a time, --data.time_column 'clock' keeps it from being an input"
    assert f"{tmp_path}: {line}" in capsys.readouterr().out
    assert ready(tmp_path, time_column="clock").input_shape == (None, 1)
    ready(tmp_path, channels=["clock"])
    assert "in every series" not in capsys.readouterr().out


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    write_series_folder(tmp_path)
    state = ready(tmp_path).state_dict()
    first = sorted(tmp_path.iterdir())[0]
    first.rename(tmp_path / "zebra")
    with pytest.raises(InputError, match="zebra"):
        SeriesFolder(str(tmp_path)).load_state_dict(state)


def test_splits_are_stratified_and_folds_partition(tmp_path: Path) -> None:
    write_series_folder(tmp_path)
    for split in ready(tmp_path, val_size=0.25, test_size=0.25).splits.values():
        counts = split.targets[split.indices].bincount()
        assert counts[0] == counts[1] > 0
    held_out = [ready(tmp_path, num_folds=4, fold=fold).splits["test"].indices for fold in range(4)]
    assert sorted(torch.cat(held_out).tolist()) == list(range(24))


def test_folders_of_splits_are_kept(tmp_path: Path) -> None:
    for name, each in {"train": 12, "Test": 5}.items():
        write_series_folder(tmp_path / name, each)
    module = ready(tmp_path, val_size=0.25)
    assert module.class_names == ["fast", "slow"]
    assert {name: len(split) for name, split in module.splits.items()} == {"train": 18, "val": 6, "test": 10}
    assert module.splits["test"].indices.tolist() == list(range(24, 34))
    assert all("/Test/" in str(module.folders.files[i]) for i in range(24, 34))


def test_channels_are_matched_by_name(tmp_path: Path) -> None:
    series = write_series_folder(tmp_path)
    swapped = series[13][0][:, ::-1]
    write_series(tmp_path / "slow" / "01.csv", swapped, ("y", "x"), time=None)
    module = ready(tmp_path)
    (values, lengths), _ = _sample(module, 13)
    np.testing.assert_allclose(values, series[13][0], rtol=1e-6)
    assert lengths == len(swapped)


def _sample(module: SeriesFolder, index: int) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    for split in module.splits.values():
        where = (split.indices == index).nonzero()
        if len(where):
            sample: tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor] = split[int(where)]  # type: ignore[assignment]
            return sample
    raise AssertionError(index)


def test_the_time_column_is_not_a_channel(tmp_path: Path) -> None:
    for name in "ab":
        for number in range(4):
            write_series(tmp_path / name / f"{number}.csv", waves(6, 2, number), ("x", "y"))
    assert ready(tmp_path, time_column="date").input_shape == (None, 2)
    assert ready(tmp_path, time_column="date", channels=["y"]).input_shape == (None, 1)


def test_row_numbers_are_not_a_channel_except_in_an_earlier_run(tmp_path: Path) -> None:
    for name in "ab":
        for number in range(6):
            path = tmp_path / name / f"{number}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text(",x\n" + "".join(f"{i},{i * number}\n" for i in range(5)))
    assert ready(tmp_path).scale.names == ["x"]
    earlier = SeriesFolder(str(tmp_path))
    earlier.trained_state = {"channel_names": ["", "x"]}
    earlier.setup()
    assert earlier.input_shape == (None, 2)


def test_files_may_have_no_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for first, name in ((10, "a"), (20, "b")):
        for number in range(6):
            path = tmp_path / name / f"{number}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(f"{5 - i}.5,{first + number}.25\n" for i in range(5)))
    module = ready(tmp_path, header=False)
    assert (module.scale.names, len(module.splits["train"].values)) == (["column_1", "column_2"], 60)  # type: ignore[union-attr]
    assert module.load_predict(tmp_path / "a" / "3.csv").values[0].tolist() == [5.5, 13.25]
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match=r"1.csv: no column '10.25'.*; set --data.header false if the first line is"):
        ready(tmp_path)


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    write_series_folder(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "fast" / ".hidden.csv").write_text("no series")
    (tmp_path / "notes.txt").write_text("no class")
    module = ready(tmp_path)
    assert module.class_names == ["fast", "slow"]
    assert sum(map(len, module.splits.values())) == 24


def test_suffixes_are_case_insensitive_and_class_folders_recursive(tmp_path: Path) -> None:
    write_series_folder(tmp_path)
    first, second, *_ = sorted((tmp_path / "fast").iterdir())
    first.rename(first.with_suffix(".CSV"))
    (tmp_path / "fast" / "more").mkdir()
    second.rename(tmp_path / "fast" / "more" / second.name)
    assert sum(map(len, ready(tmp_path).splits.values())) == 24


def test_a_class_without_training_series_is_refused(tmp_path: Path) -> None:
    write_series_folder(tmp_path)
    for number in range(2):
        write_series(tmp_path / "rare" / f"{number}.csv", waves(6, 2), ("x", "y"), time=None)
    with pytest.raises(InputError, match="class 'rare' has no file in the training split"):
        ready(tmp_path, val_size=0.4, test_size=0.5)


def test_invalid_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none does not exist; set --data.root to a folder that has a folder of CSV"):
        ready(tmp_path / "none")
    (tmp_path / "one").mkdir()
    with pytest.raises(InputError, match=r"expected at least two folders, one per class, found only one"):
        ready(tmp_path)
    write_series_folder(tmp_path)
    with pytest.raises(InputError, match=r"one contains no CSV file"):
        ready(tmp_path)
    write_series(tmp_path / "one" / "1.csv", waves(6, 2), ("x", "y"), time=None)
    with pytest.raises(InputError, match=r"class 'one' has a single file, which cannot be split"):
        ready(tmp_path)
    write_series(tmp_path / "one" / "2.csv", waves(6, 2), ("x", "z"), time=None)
    with pytest.raises(InputError, match=r"2.csv: no column 'y' \(columns: x, z\)"):
        ready(tmp_path)
    values = waves(6, 2)
    values[4, 1] = np.nan
    write_series(tmp_path / "one" / "2.csv", values, ("x", "y"), time=None)
    with pytest.raises(InputError, match=r"2.csv, line 6, column 'y': expected a number, got 'nan'"):
        ready(tmp_path)
