"""Tables: preprocessing compared with scikit-learn, target types, and invalid files."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn import datasets
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from litnets.data import BreastCancer, Diabetes, Iris, TableCSV, TableDataModule, Wine
from litnets.errors import InputError
from tests.helpers.tiny_tables import HEADER, TOWNS, table_rows, write_csv

CLASSIC = [
    (Iris, datasets.load_iris, 150, 3),
    (Wine, datasets.load_wine, 178, 3),
    (BreastCancer, datasets.load_breast_cancer, 569, 2),
    (Diabetes, lambda: datasets.load_diabetes(scaled=False), 442, None),
]


def ready(module: TableDataModule) -> TableDataModule:
    module.prepare_data()
    module.setup()
    return module


def csv(path: Path, target: str | list[str] = "bought", **arguments: Any) -> TableDataModule:
    """Return TableCSV of the tiny table, without the other targets."""
    targets = [target] if isinstance(target, str) else target
    others = [name for name in ("bought", "red", "round", "price") if name not in targets]
    return ready(TableCSV(str(path), target, **({"ignore": others} | arguments)))


def small(text: str, target: str | list[str] = "y", **arguments: Any) -> TableDataModule:
    """Return TableCSV of a CSV text."""
    Path("small.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return ready(TableCSV("small.csv", target, **arguments))


def prepared(module: TableDataModule, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    part = module.splits[split]
    return module.on_after_batch_transfer(part[torch.arange(len(part))], 0)


# Tables of scikit-learn


@pytest.mark.parametrize(("cls", "source", "size", "classes"), CLASSIC)
def test_classic_tables_equal_scikit_learn(cls: Any, source: Any, size: int, classes: int | None) -> None:
    module, bunch = ready(cls()), source()
    assert [len(module.splits[n]) for n in ("train", "val", "test")] == [
        size - 2 * round(size / 5),
        round(size / 5),
        round(size / 5),
    ]
    scaler = StandardScaler().fit(bunch.data[module.splits["train"].indices])
    for name, split in module.splits.items():
        inputs, targets = prepared(module, name)
        np.testing.assert_allclose(inputs, scaler.transform(bunch.data[split.indices]), rtol=1e-3, atol=2e-5)
        np.testing.assert_array_equal(targets.squeeze(), bunch.target[split.indices])
    assert module.input_shape == bunch.data.shape[1:]
    assert module.num_classes == classes
    if classes:
        assert module.class_names == bunch.target_names.tolist()
        assert module.class_counts == np.bincount(bunch.target[module.splits["train"].indices]).tolist()
        assert (module.num_targets, module.target_names, module.target_mean, module.target_std) == (None,) * 4
    else:
        train = bunch.target[module.splits["train"].indices]
        assert (module.num_targets, module.class_names, module.class_counts) == (1, None, None)
        assert module.target_mean == pytest.approx([train.mean()])
        assert module.target_std == pytest.approx([train.std()])
    assert not module.multilabel


def test_classes_are_stratified_and_folds_partition() -> None:
    tests = []
    for fold in range(5):
        module = ready(Iris(num_folds=5, fold=fold))
        assert [prepared(module, s)[1].bincount().tolist() for s in ("test", "val")] == [[10, 10, 10]] * 2
        tests.append(module.splits["test"].indices)
    assert sorted(torch.cat(tests).tolist()) == list(range(150))


# TableCSV: inputs and targets


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_preprocessing_equals_scikit_learn(tmp_path: Path, kind: str) -> None:
    path = write_csv(tmp_path / "table.csv")
    frame = pl.read_csv(path, null_values=["NA", ""])
    if kind == "parquet":
        path = tmp_path / "table.parquet"
        frame.write_parquet(path)
    module = csv(path)
    assert isinstance(module.table.columns, list)
    assert module.table.columns == ["age", "income", "town"]
    numbers = frame.select(pl.col("age", "income").cast(pl.Float64)).to_numpy()
    towns = frame.select("town").to_numpy()
    train = module.splits["train"].indices.numpy()
    scaling = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(numbers[train])
    train_towns = [t for t in sorted(TOWNS) if t in towns[train]]
    encoder = OneHotEncoder(categories=[train_towns], handle_unknown="ignore", sparse_output=False).fit(towns[train])
    assert np.isnan(numbers[train]).any()
    assert (towns == None).any()  # noqa: E711
    for name in ("train", "val", "test"):
        rows = module.splits[name].indices.numpy()
        inputs, targets = prepared(module, name)
        expected = np.hstack([scaling.transform(numbers[rows]), encoder.transform(towns[rows])])
        np.testing.assert_allclose(inputs, expected, rtol=1e-4, atol=1e-5)
        assert [module.class_names[t] for t in targets] == frame["bought"].to_numpy()[rows].tolist()
    assert module.input_shape == (5,)


def test_statistics_are_fitted_on_the_training_split_only(tmp_path: Path) -> None:
    first = csv(write_csv(tmp_path / "first.csv"))
    rows = table_rows()
    for split in ("val", "test"):
        for i in first.splits[split].indices.tolist():
            rows[i][:3] = ["1000", "Atlantis", "-1e6"]
    second = csv(write_csv(tmp_path / "second.csv", rows))
    assert second.statistics == first.statistics
    assert second.input_shape == first.input_shape
    inputs, _ = prepared(second, "test")
    assert (inputs[:, 2:] == 0).all()  # Atlantis is not a training category
    assert (inputs[:, 0] > 10).all()


def test_a_checkpoint_restores_its_statistics(tmp_path: Path) -> None:
    first = csv(write_csv(tmp_path / "first.csv"))
    rows = [["50", "Atlantis", "1000", *row[3:]] for row in table_rows()]
    rows[0][1], rows[1][1], rows[1][2] = "Rome", "Bern", "2000"
    second = csv(write_csv(tmp_path / "second.csv", rows))
    assert second.statistics != first.statistics
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    inputs = second.prepare(second.table.inputs[:2])
    median, mean, std = (first.statistics[name][1] for name in ("median", "mean", "std"))
    assert median != mean
    torch.testing.assert_close(inputs[:, 1], (torch.tensor([1000.0, 2000.0]) - mean) / std)
    assert inputs[:, 2:].tolist() == [[0, 0, 1], [0, 0, 0]]  # Köln, Oslo, Rome


def test_a_checkpoint_of_another_table_is_refused(tmp_path: Path) -> None:
    first = csv(write_csv(tmp_path / "first.csv"))
    other = csv(write_csv(tmp_path / "other.csv", header=HEADER.replace("income", "wage")))
    with pytest.raises(InputError, match=r"other.csv: no column 'income'"):
        other.load_state_dict(first.state_dict())
    maybe = [[*row[:3], row[3].replace("no", "never"), *row[4:]] for row in table_rows()]
    with pytest.raises(InputError, match=r"expected a class of the training \(no, yes\), got 'never'"):
        csv(write_csv(tmp_path / "third.csv", maybe)).load_state_dict(first.state_dict())


def test_a_checkpoint_is_loaded_before_the_data_are_set_up(tmp_path: Path) -> None:
    trained = csv(write_csv(tmp_path / "table.csv"))
    fresh = TableCSV(str(tmp_path / "table.csv"), "bought", ignore=["red", "round", "price"])
    fresh.load_state_dict(trained.state_dict())
    assert fresh.input_shape == trained.input_shape
    fresh.setup()
    assert torch.equal(prepared(fresh, "test")[0], prepared(trained, "test")[0])


def test_new_rows_are_encoded_alike_with_and_without_the_training_table(tmp_path: Path) -> None:
    """If the table is in memory, its categories define the codes; otherwise those of the training split do."""
    rows = table_rows()
    (tmp_path / "new.csv").write_text("town,age,income\nRome,30,NA\nBern,NA,5e4\n")
    trained = csv(write_csv(tmp_path / "old.csv", rows), predict_path=str(tmp_path / "new.csv"))
    held_out = trained.splits["test"].indices[0].item()
    rows[held_out][1] = "Bern"  # a town that no training row has
    trained = csv(write_csv(tmp_path / "old.csv", rows), predict_path=str(tmp_path / "new.csv"))
    fresh = TableCSV("gone.csv", "bought", predict_path=str(tmp_path / "new.csv"))
    fresh.load_state_dict(trained.state_dict())
    fresh.setup("predict")
    (first, _), (second, _) = (
        module.on_after_batch_transfer(next(iter(module.predict_dataloader())), 0) for module in (trained, fresh)
    )
    assert first[:, 2:].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert torch.equal(first, second)
    assert len(prepared(trained, "test")[0]) == 12, "predicting changed the splits"
    untrained = TableCSV(str(tmp_path / "old.csv"), "bought", ignore=["red", "round", "price"],
                         predict_path=str(tmp_path / "new.csv"))  # fmt: skip
    assert torch.equal(untrained.on_after_batch_transfer(next(iter(untrained.predict_dataloader())), 0)[0], first)


@pytest.mark.parametrize(
    ("target", "task", "classes", "numbers"),
    [
        ("bought", None, ["no", "yes"], None),
        ("price", None, None, ["price"]),
        ("red", None, ["0", "1"], None),
        ("red", "regression", None, ["red"]),
        (["red", "round"], None, ["red", "round"], None),
        (["red", "price"], None, None, ["red", "price"]),
        (["red", "price"], "regression", None, ["red", "price"]),
    ],
)
def test_the_target_type_is_inferred_or_set_by_task(
    tmp_path: Path, target: Any, task: Any, classes: Any, numbers: Any
) -> None:
    module = csv(write_csv(tmp_path / "table.csv"), target, task=task)
    assert module.class_names == classes
    assert module.num_classes == (classes and len(classes))
    assert module.target_names == numbers
    assert module.num_targets == (numbers and len(numbers))
    assert module.multilabel == (classes is not None and isinstance(target, list))
    _, targets = prepared(module, "train")
    expected = np.array(table_rows())[module.splits["train"].indices]
    if module.multilabel:
        np.testing.assert_array_equal(targets, np.stack([expected[:, 4] == "1", expected[:, 5] == "true"], 1))
        assert targets.dtype == torch.int64
        assert module.class_counts == targets.sum(0).tolist()
    elif numbers:
        columns = expected[:, [HEADER.split(",").index(name) for name in numbers]].astype("float32")
        np.testing.assert_array_equal(targets, columns)
        np.testing.assert_allclose(module.target_mean, columns.astype(float).mean(0))
        np.testing.assert_allclose(module.target_std, columns.astype(float).std(0))


@pytest.mark.parametrize(("values", "classes"), [(20, 20), (21, None)])
def test_integers_of_many_distinct_values_are_numbers(values: int, classes: int | None) -> None:
    text = "x,y\n" + "\n".join(f"{i % 7},{i % values + 5}" for i in range(10 * values))
    module = small(text)
    assert module.num_classes == classes
    if classes:
        assert module.class_names == [str(5 + i) for i in range(20)]  # in numeric order
    else:
        assert small(text, task="classification").num_classes == values


def test_categorical_and_ignored_columns() -> None:
    text = "code,id,y\n" + "\n".join(f"{10 * (i % 3)},{i},{i % 2}" for i in range(30))
    module = small(text, categorical=["code"], ignore=["id"])
    assert module.statistics["categories"] == [["0", "10", "20"]]
    assert module.input_shape == (3,)
    inputs, _ = prepared(module, "train")
    assert torch.equal(inputs.argmax(1), module.splits["train"].indices % 3)


@pytest.mark.parametrize(("suffix", "separator", "option"), [("csv", ";", ";"), ("tsv", "\t", None)])
def test_separators(suffix: str, separator: str, option: str | None) -> None:
    path = Path(f"table.{suffix}")
    path.write_text("\n".join(["x,y".replace(",", separator), *(f"{i}{separator}{i % 2}" for i in range(20))]))
    assert ready(TableCSV(str(path), "y", separator=option)).input_shape == (1,)


@pytest.mark.parametrize("suffix", ["TSV", "PARQUET"])
def test_suffixes_are_case_insensitive(suffix: str) -> None:
    frame, path = pl.DataFrame({"x": range(20), "y": [0, 1] * 10}), f"table.{suffix}"
    frame.write_parquet(path) if suffix == "PARQUET" else frame.write_csv(path, separator="\t")
    assert len(ready(TableCSV(path, "y")).table.inputs) == 20


def test_a_constant_column_becomes_zero() -> None:
    module = small("x,c,y\n" + "\n".join(f"{i % 7},7,{i % 2}" for i in range(20)))
    assert (prepared(module, "train")[0][:, 1] == 0).all()


def test_empty_lines_are_skipped() -> None:
    plain = 'x,t,y\n1,"a\n\nb",0\n2,c,1\n' + "".join(f"{i},c,{i % 2}\n" for i in range(20)) + ",,1\n"
    module = small(plain)
    for text in (plain.replace("\n2,c", "\n\n\n2,c") + "\n\n", plain.replace("\n2,c", "\r\n\r\n2,c")):
        other = small(text)
        assert torch.equal(other.table.inputs.nan_to_num(-1), module.table.inputs.nan_to_num(-1))
        assert other.statistics == module.statistics
    assert len(module.table.inputs) == 23
    assert "a\n\nb" in module.statistics["categories"][0]


def test_headers_and_cells_may_be_long() -> None:
    names = [f"gene_{i:0500}" for i in range(300)]
    rows = "".join(f"{','.join(['1.5', f'{i % 7}'] * 150)},{i % 2}\n" for i in range(10))
    assert small(f"{','.join(names)},y\n{rows}").table.columns == names
    text = "x,t,y\n" + "".join(f"{i},{i % 3 * 50_000 * 'ab'}c,{i % 2}\n" for i in range(12))
    for other in (text, text.replace("\n0", "\n\n0")):
        assert max(map(len, small(other).table.categories[0])) == 200_001


def test_a_mostly_numeric_target_needs_to_be_listed_as_categorical() -> None:
    text = "x,y\n" + "".join(f"{i},{'x' if i % 19 == 0 else i % 3}\n" for i in range(57))
    with pytest.raises(InputError, match=r"expected a number as in most rows, got 'x'; .* --data\.categorical"):
        small(text)
    assert small(text, categorical=["y"]).class_names == ["0", "1", "2", "x"]


def test_missing_values_have_many_spellings() -> None:
    names = ["", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None", "nan", "NaN", "Nan", "NAN", "-nan"]
    text = "x,t,y\n" + "".join(f"{name},{name},1\n{i},b,0\n{i},c,1\n" for i, name in enumerate(names))
    module = small(text)
    assert module.table.inputs[:, 0].isnan().sum() == len(names)
    assert module.table.categories == [["b", "c"]]


def test_numbers_with_commas_may_be_categories() -> None:
    module = small(COMMAS.replace(";", "\t").encode(), separator="\t", categorical=["x"])
    assert "7,25" in module.table.categories[0]
    assert small("x,y\n" + '"a,b",1\n"1,5",0\n' * 9).table.categories == [["1,5", "a,b"]]


def test_integer_categories_of_a_parquet_file_survive_missing_values() -> None:
    """pandas writes an integer column as floats if a value is missing."""
    y = [0, 1] * 12
    pl.DataFrame({"c": [1, 2, 3] * 8, "y": y}).write_parquet("integers.parquet")
    pl.DataFrame({"c": [1.0, 2.0, None] * 8, "y": y}).write_parquet("missing.parquet")
    pl.DataFrame({"c": [1.5, 2.0, None] * 8, "y": y}).write_parquet("fractions.parquet")
    categories = [
        ready(TableCSV(f"{n}.parquet", "y", categorical=["c"])).table.categories
        for n in ("integers", "missing", "fractions")
    ]
    assert categories == [[["1", "2", "3"]], [["1", "2"]], [["1.5", "2.0"]]]


# Invalid files

GOOD = "x,town,y\n" + "".join(f"{i},{'ab'[i % 2]},{'no' if i % 3 else 'yes'}\n" for i in range(30))
NUMBERS = "x,y\n" + "".join(f"{i},{i / 4}\n" for i in range(30))
COMMAS = "x;z;y\n" + "".join(f"{i / 4};1;{i % 2}\n" for i in range(30)).replace(".", ",")


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (GOOD, {"target": "z"}, r"small.csv: no column 'z' \(columns: x, town, y\)"),
        (GOOD, {"target": "Y"}, "no column 'Y'; did you mean 'y'"),
        (GOOD, {"ignore": ["twon"]}, "no column 'twon'; did you mean 'town'"),
        (GOOD, {"categorical": ["X"]}, "no column 'X'; did you mean 'x'"),
        (GOOD.replace(",", "/"), {}, "set --data.separator if it is not the right one"),
        (GOOD, {"ignore": ["x", "town"]}, "no column is left"),
        ("", {}, "small.csv: the file is empty"),
        ("x,y\n", {}, "expected at least one row, got only a header"),
        (GOOD.encode() + b"3,K\xf6ln,no\n", {}, "small.csv, line 32: not UTF-8 .byte 0xf6 at"),
        (GOOD + "1,a,no,9\n", {}, "small.csv, line 32: expected 3 cells as in the header, got 4"),
        (GOOD + "1,a,\n2,a,no\n3,b,?\n", {}, r"target 'y' has no value in row 31 \(and in 1 more\)"),
        (NUMBERS + "3,NaN\n", {}, "target 'y' has no value in row 31"),
        (NUMBERS + "3,-nan\n4,Nan\n5,NAN\n", {}, r"target 'y' has no value in row 31 \(and in 2 more\)"),
        (NUMBERS + "3,inf\n", {}, "column 'y', row 31: expected a finite number, got infinity"),
        (NUMBERS + "-inf,3\n", {}, "column 'x', row 31: expected a finite number, got infinity"),
        (NUMBERS + "3,three\n", {}, "column 'y', row 31: expected a number as in most rows, got 'three'"),
        (NUMBERS + "3x,3\n", {}, "column 'x', row 31: expected a number as in most rows, got '3x'"),
        (GOOD, {"task": "regression"}, "target 'y', row 1: expected a number, got 'yes'"),
        (
            GOOD,
            {"target": ["y", "x"], "task": "classification"},
            "target 'y': expected only 0 and 1, or only true and false",
        ),
        ("x,y\n" + "1,5.5\n" * 20, {}, "target 'y' is 5.5 in every training row"),
        ("x,y\n" + "1,a\n" * 20, {}, "only one class, 'a'"),
        ("x,y\n" + "1,7\n" * 20, {}, "only one class, '7'"),
        (GOOD + "1,a,maybe\n", {}, r"class 'maybe' has only one sample \(row 31\)"),
        (
            "x,a,b\n" + "".join(f"{i},{i % 2},0\n" for i in range(20)),
            {"target": ["a", "b"]},
            "target 'b' is 0 in every training row",
        ),
        (
            "x,z,y\n" + "".join(f"{i},,{i % 2}\n" for i in range(20)),
            {},
            "column 'z' has no value in the training split",
        ),
    ],
)
def test_invalid_files_are_refused_in_one_line(text: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        small(text, **({"target": "y"} | arguments))
    assert len(str(error.value).splitlines()) == 1


def test_a_class_without_training_rows_is_refused() -> None:
    """With this seed, both samples of the class are in the other splits."""
    text = "x,y\n" + "".join(f"{i},{'a' if i else 'rare'}\n" for i in range(20)) + "3,rare\n"
    with pytest.raises(
        InputError, match=r"class 'rare' \(2 samples, the first in row 1\) is not in the training split"
    ):
        small(text, val_size=0.6, test_size=0.3)


def test_too_many_categories_are_refused() -> None:
    text = "name,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(2000))
    with pytest.raises(InputError, match="column 'name': expected at most 1000 categories, got 1200 distinct texts"):
        small(text, keep_columns=["name"])


def test_a_column_without_training_values_is_refused() -> None:
    rows = [[str(i), "", str(i % 2)] for i in range(20)]
    test = ready(TableCSV(str(write_csv(Path("a.csv"), rows, "x,z,y")), "y", ignore=["z"])).splits["test"].indices
    for i in test.tolist():
        rows[i][1] = "5"
    with pytest.raises(InputError, match="column 'z' has no value in the training split"):
        ready(TableCSV(str(write_csv(Path("a.csv"), rows, "x,z,y")), "y"))


def test_missing_files_and_folders_are_refused() -> None:
    Path("houses.csv").touch()
    with pytest.raises(InputError, match=r"house.csv: cannot be read: No such file.*did you mean 'houses.csv'"):
        ready(TableCSV("house.csv", "y"))
    with pytest.raises(InputError, match="expected a file, got a folder"):
        ready(TableCSV(".", "y"))


def test_invalid_parquet_files_are_refused() -> None:
    Path("a.parquet").write_text(GOOD)
    with pytest.raises(InputError, match=r"a.parquet: cannot be read"):
        ready(TableCSV("a.parquet", "y"))


def test_parquet_files_may_hold_nan_and_booleans() -> None:
    frame = {"x": [1.0, float("nan")] * 10, "b": [True, None] * 10, "y": [1.5, 2.5] * 10}
    pl.DataFrame(frame).write_parquet("a.parquet")
    module = ready(TableCSV("a.parquet", "y"))
    assert module.table.columns == ["x", "b"]
    assert module.table.inputs.isnan().sum() == 20
    pl.DataFrame(frame | {"y": [1.5] * 19 + [float("nan")]}).write_parquet("a.parquet")
    with pytest.raises(InputError, match="target 'y' has no value in row 20"):
        ready(TableCSV("a.parquet", "y"))
