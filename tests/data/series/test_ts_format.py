from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litnets.data import SeriesFolder
from litnets.data.series.ts_format import read_archive, read_ts
from litnets.errors import InputError

HEADER = """# Comments may be in Latin-1: \xe9
%
@problemName Waves
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true slow fast
@data
"""


def write_ts(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((header + "\n".join(lines) + "\n").encode("latin-1"))
    return path


def write_archive(root: Path, train: int = 20, test: int = 6, prefix: str = "Waves") -> list[np.ndarray]:
    """Write series of two dimensions and 4 to 8 steps, and return them in the order in which they are read."""
    random = np.random.default_rng(0)
    series = [random.normal(size=(random.integers(4, 9), 2)) for _ in range(train + test)]
    lines = [
        ":".join([*(",".join(map(repr, column)) for column in values.T.tolist()), ("slow", "fast")[i % 2]])
        for i, values in enumerate(series)
    ]
    write_ts(root / f"{prefix}_TRAIN.ts", *lines[:train])
    write_ts(root / f"{prefix}_TEST.ts", *lines[train:])
    return series


def ready(root: Path, **options: Any) -> SeriesFolder:
    module = SeriesFolder(str(root), **options)
    module.prepare_data()
    module.setup()
    return module


def test_series_have_their_values_and_classes(tmp_path: Path) -> None:
    path = write_ts(tmp_path / "a.ts", "1,2.5,-3e2:4,5,6: slow", "", "7:8:fast")
    first, second = read_ts(path)
    assert first.values.tolist() == [[1, 4], [2.5, 5], [-300, 6]]
    assert second.values.tolist() == [[7, 8]]
    assert [first.label, second.label] == ["slow", "fast"]
    assert first.where == f"{path}, line 11"


def test_missing_values_are_interpolated_over_time(tmp_path: Path) -> None:
    path = write_ts(tmp_path / "a.ts", "?,2,?,?,8,NaN:1,nan,3,4,5,6:slow", "1,2:3,4:fast")
    first, second = read_ts(path)
    assert first.values.T.tolist() == [[2, 2, 4, 6, 8, 8], [1, 2, 3, 4, 5, 6]]
    assert (first.num_missing, second.num_missing) == (5, 0)


def test_the_splits_of_an_archive_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = write_archive(tmp_path)
    (tmp_path / "README.md").write_text("no series")
    module = ready(tmp_path, val_size=0.2)
    assert (module.class_names, module.input_shape) == (["fast", "slow"], (None, 2))
    assert [len(module.splits[part]) for part in ("train", "val", "test")] == [16, 4, 6]
    assert module.splits["test"].indices.tolist() == list(range(20, 26))
    train = np.concatenate([series[i] for i in module.splits["train"].indices.tolist()])
    assert module.scale.mean == pytest.approx(train.mean(0).tolist())
    (values, lengths), targets = module.splits["test"][slice(None)]  # type: ignore[index]
    for i, (length, target) in enumerate(zip(lengths.tolist(), targets.tolist(), strict=True)):
        np.testing.assert_allclose(values[i, :length], series[20 + i], rtol=1e-6)
        assert module.class_names[target] == ("slow", "fast")[i % 2]
    assert capsys.readouterr().out == ""


def test_the_tsv_files_of_the_ucr_archive_are_read(tmp_path: Path) -> None:
    for part, size in (("TRAIN", 20), ("TEST", 6)):
        lines = [f"{1 + i % 2}\t{i}\tNaN\t{i + 2}.5\t-1e-1\tNaN\tnan" for i in range(size)]
        (tmp_path / f"Waves_{part}.tsv").write_text("\n".join(lines) + "\n")
    series = read_archive(tmp_path / "Waves_TEST.tsv")
    assert series[3].values.tolist() == [[3], [4.25], [5.5], [-0.1]]
    assert [sample.label for sample in series] == ["1", "2"] * 3
    module = ready(tmp_path)
    assert (module.class_names, [len(split) for split in module.splits.values()]) == (["1", "2"], [16, 4, 6])
    assert len(module.load_predict(tmp_path / "Waves_TEST.tsv")) == 6
    write_archive(tmp_path, train=9)  # the .ts files come before
    assert ready(tmp_path).class_names == ["fast", "slow"]
    (tmp_path / "Waves_TEST.tsv").write_text("1\tNaN\tNaN\n")
    with pytest.raises(InputError, match=r"Waves_TEST.tsv, line 1: expected numbers separated by commas"):
        read_archive(tmp_path / "Waves_TEST.tsv")


def test_a_single_file_is_split(tmp_path: Path) -> None:
    write_archive(tmp_path, train=30)
    module = ready(tmp_path / "Waves_TRAIN.ts", channels=["dim_1"])
    assert [len(module.splits[part]) for part in ("train", "val", "test")] == [18, 6, 6]
    assert module.input_shape == (None, 1)
    folds = [ready(tmp_path, num_folds=3, fold=fold).splits for fold in range(3)]
    assert sorted(i for splits in folds for i in splits["val"].indices.tolist()) == list(range(30))
    assert all(splits["test"].indices.tolist() == list(range(30, 36)) for splits in folds)


def test_the_file_named_after_its_folder_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_archive(tmp_path / "Waves")
    write_archive(tmp_path / "Waves", train=9, prefix="Waves_eq")
    assert len(ready(tmp_path / "Waves").splits["test"]) == 6
    assert "Waves_eq_TEST.ts, Waves_eq_TRAIN.ts left out; expected train, val and test" in capsys.readouterr().out
    (tmp_path / "Waves").rename(tmp_path / "other")
    with pytest.raises(InputError, match=r"Waves_TRAIN.ts and Waves_eq_TRAIN.ts both hold the train split; remove one"):
        ready(tmp_path / "other")


def test_new_series_need_no_classes(tmp_path: Path) -> None:
    write_archive(tmp_path)
    module = ready(tmp_path)
    path = write_ts(tmp_path / "new.ts", "1,2:3,4", "5:6", header="@classLabel false\n@data\n")
    other = SeriesFolder("nowhere", predict_path=str(path))
    other.load_state_dict(module.state_dict())
    new = other.load_predict(path)
    assert new.values.tolist() == [[1, 3], [2, 4], [5, 6]]
    assert other.sample_names == [f"{path}, line 3", f"{path}, line 4"]
    assert other.read_inputs([path]).values.tolist() == new.values.tolist()
    write_ts(path, "1,2", header="@classLabel false\n@data\n")
    with pytest.raises(InputError, match=r"new.ts, line 3: no column 'dim_1'"):
        other.load_predict(path)


def test_a_run_is_tested_on_new_series(tmp_path: Path) -> None:
    write_archive(tmp_path)
    module = ready(tmp_path)
    path = write_ts(tmp_path / "new.ts", "1,2:3,4:slow", "5:6:fast", "5:7:fast")
    other = SeriesFolder("nowhere")
    other.evaluate_on(path, module.class_names)
    other.load_state_dict(module.state_dict())
    labeled = other.load_labeled(path)
    assert labeled.targets.tolist() == [1, 0, 0]
    assert labeled.values.tolist() == [[1, 3], [2, 4], [5, 6], [5, 7]]
    write_ts(path, "1:2:slower")
    with pytest.raises(InputError, match=r"new.ts has the class slower, but the trained run has only fast, slow"):
        other.load_labeled(path)


def test_series_are_recognized_when_others_are_added(tmp_path: Path) -> None:
    write_archive(tmp_path)
    before = ready(tmp_path)
    path = tmp_path / "Waves_TRAIN.ts"
    path.write_bytes(path.read_bytes().replace(b"@data\n", b"@data\n1,2:3,4:slow\n"))
    after = SeriesFolder(str(tmp_path))
    after.recorded_split = before.split_record
    after.setup()
    assert after.data_changes is not None
    assert after.data_changes.to_dict() == {"added": 1, "left_out": 1}
    for part, split in before.splits.items():
        later = (split.indices + 1).tolist()
        assert after.splits[part].indices.tolist() == later


def test_copies_and_missing_values_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_archive(tmp_path)
    lines = (tmp_path / "Waves_TRAIN.ts").read_text("latin-1").splitlines()
    with (tmp_path / "Waves_TEST.ts").open("a") as file:
        file.write(f"{lines[10]}\n1,?:?,?,2:slow\n".replace("1,?:", "1,?,3:"))
    ready(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        f"1 of 28 series are copies of others, 1 in another split ({tmp_path}/Waves_TRAIN.ts, line 11 = "
        f"{tmp_path}/Waves_TEST.ts, line 17)",
        f"{tmp_path}: 3 missing values interpolated",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("@classLabel true a b\n@data\n1,2:a\n1,2:3,4:b\n", r"line 4: expected 1 dimensions as in the first .*, got 2"),
        ("@classLabel true a b\n@data\n1,2:3:a\n", r"line 3: expected dimensions of one length, got 2, 1"),
        ("@classLabel true a b\n@data\n1,x:a\n", r"line 3: expected numbers separated by commas"),
        ("@classLabel true a b\n@data\n1,inf:a\n", r"line 3: expected finite numbers"),
        ("@classLabel true a b\n@data\n?,?:1,2:a\n", r"line 3: .* a dimension without values"),
        ("@classLabel true a b\n@data\n1,2:\n", r"line 3: expected a class at the end of the line"),
        ("@classLabel true a b\n@data\na\n", r"line 3: expected dimensions of one length, got no dimension"),
        ("@classLabel true a b\n@data\n", r"expected at least one series behind @data, got none"),
        ("@targetLabel true\n@data\n1,2:3.5\n", r"expected classes \(@classLabel true\), got none"),
        ("@timeStamps true\n@classLabel true a\n@data\n(1,2):a\n", r"time stamps are not supported"),
        ("1,2:a\n", r"line 1: expected a line that begins with @ before @data, got '1,2:a'"),
        ("\n", r"the file is empty"),
    ],
)
def test_invalid_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_ts(write_ts(tmp_path / "a.ts", header=content))


def test_classes_that_are_not_in_the_training_split_are_named(tmp_path: Path) -> None:
    write_archive(tmp_path)
    with (tmp_path / "Waves_TEST.ts").open("a") as file:
        file.write("1:2:rare\n1:2:odd\n")
    with pytest.raises(InputError, match=r"test has the classes odd, rare, but train has only fast, slow to train on"):
        ready(tmp_path)
