"""Tables: four classic ones that come inside scikit-learn, and your own CSV or Parquet file."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from litnets.data.batches import ArrayDataset, smallest_type
from litnets.data.datamodule import ArrayDataModule
from litnets.data.splits import split_indices
from litnets.errors import InputError, nearest

if TYPE_CHECKING:
    import polars

# What stands for a missing value in a file, beside an empty cell (`?` is that of the UCI repository).
MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL")
# Whole numbers with more different values than this are a quantity, not classes.
MAX_WHOLE_CLASSES = 20
# A text with more different values than this is a name or an address, not a category.
MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class Table:
    """A table in memory, its values as they are in the file.

    Args:
        inputs: `(rows, columns)` float32: first the numbers, NaN where one is missing, then the categories, each as an
            index into its `texts`, or `len(texts)` where it is missing.
        columns: Names of the columns of `inputs`.
        texts: The different texts of each category; together they say how many of the columns are categories.
        targets: `(rows,)` classes, `(rows, classes)` flags, or `(rows, targets)` float32 numbers.
        class_names: Names of the classes or flags; None where the targets are numbers.
        target_names: Names of the numbers; None where there are classes.
    """

    inputs: Tensor
    columns: list[str]
    texts: list[list[str]]
    targets: Tensor
    class_names: list[str] | None = None
    target_names: list[str] | None = None

    @property
    def numbers(self) -> int:
        return len(self.columns) - len(self.texts)


class TableDataModule(ArrayDataModule):
    """Rows of a table: numbers with their missing ones filled by the median and scaled to mean 0 and standard deviation
    1, categories as one-hot columns; medians, means, deviations and categories are those of the training split. A
    category that is missing, or that training has not seen, has no hot column.

    Args:
        val_size: Validation split, a share or a number of samples.
        test_size: Test split, a share or a number of samples.
        split_seed: Seed of the splits, apart from the seed of the training.
        num_folds: Cross-validation: the number of folds; the test split is then the fold.
        fold: The fold that is held out, from 0.
        **loading: Arguments of `ArrayDataModule`.

    Raises:
        InputError: Targets of which nothing can be learnt: one class only, a class of one sample or without a sample in
            the training split, numbers that are all the same.
    """

    def __init__(
        self,
        val_size: float = 0.2,
        test_size: float = 0.2,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.val_size, self.test_size, self.split_seed = val_size, test_size, split_seed
        self.num_folds, self.fold = num_folds, fold
        self.statistics: dict[str, Any] = {}
        self._hot: list[Tensor] = []

    @abstractmethod
    def read(self) -> Table:
        """The whole table; called once in each process, when it is first asked for."""

    @cached_property
    def table(self) -> Table:
        return self.read()

    def load(self) -> dict[str, ArrayDataset]:
        table = self.table
        classes = None if table.class_names is None or table.targets.ndim > 1 else table.targets
        sizes = (self.val_size, self.test_size, self.split_seed, self.num_folds, self.fold)
        split = split_indices(classes, len(table.targets), *sizes)
        _check_targets(table, split[0])
        named = zip(("train", "val", "test"), split, strict=True)
        return {name: ArrayDataset(table.inputs, table.targets, indices) for name, indices in named}

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if not self.statistics:
            self._use(_statistics(self.table, self.splits["train"].indices))

    def state_dict(self) -> dict[str, Any]:
        """What was learnt from the training split, so that a checkpoint's network sees inputs as in training."""
        return {**self.statistics, "columns": self.table.columns, "class_names": self.table.class_names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, ours in (("columns", self.table.columns), ("class_names", self.table.class_names)):
            if state_dict[name] != ours:
                raise InputError(f"these data have the {name} {ours}; the checkpoint was trained on {state_dict[name]}")
        self._use({name: state_dict[name] for name in ("median", "mean", "std", "categories")})

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        self.setup()
        return (self.table.numbers + sum(map(len, self.statistics["categories"])),)

    @property
    def num_classes(self) -> int | None:  # type: ignore[override]
        return None if self.table.class_names is None else len(self.table.class_names)

    @property
    def class_names(self) -> list[str] | None:
        return self.table.class_names

    @property
    def multilabel(self) -> bool:
        """Whether a target is one flag for each class."""
        return self.num_classes is not None and self.table.targets.ndim > 1

    @property
    def num_targets(self) -> int | None:
        return None if self.table.target_names is None else len(self.table.target_names)

    @property
    def target_names(self) -> list[str] | None:
        return self.table.target_names

    @property
    def target_mean(self) -> list[float] | None:
        return None if self.num_targets is None else self._training_targets().mean(0).tolist()

    @property
    def target_std(self) -> list[float] | None:
        return None if self.num_targets is None else self._training_targets().std(0, correction=0).tolist()

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        rows, targets = batch
        return self.prepare(rows), targets if self.num_classes is None else targets.long()

    def prepare(self, rows: Tensor) -> Tensor:
        """Rows as they are in the file `(N, columns)` as the network wants them `(N, features)`."""
        median, mean, std = (torch.tensor(self.statistics[name], device=rows.device) for name in _SCALING)
        numbers = rows[:, : self.table.numbers]
        parts = [(torch.where(numbers.isnan(), median, numbers) - mean) / std]
        codes = rows[:, self.table.numbers :].long()
        for code, hot, known in zip(codes.T, self._hot, self.statistics["categories"], strict=True):
            # The last place is for what is missing or unknown, and is cut off.
            parts.append(one_hot(hot.to(rows.device)[code], len(known) + 1)[:, :-1].float())
        return torch.cat(parts, 1)

    def _use(self, statistics: dict[str, Any]) -> None:
        """Take over statistics: from each text of the file to its place among the known categories."""
        self.statistics = statistics
        self._hot = []
        for texts, known in zip(self.table.texts, statistics["categories"], strict=True):
            place = {text: i for i, text in enumerate(known)}
            self._hot.append(torch.tensor([place.get(text, len(known)) for text in [*texts, None]]))

    def _training_targets(self) -> Tensor:
        self.setup()
        return self.table.targets[self.splits["train"].indices].double()


_SCALING = ("median", "mean", "std")


def _statistics(table: Table, train: Tensor) -> dict[str, Any]:
    """Median, mean and standard deviation of each number and the categories, of the training rows. A number that is
    constant gets the standard deviation 1, so that it becomes zero and not infinite."""
    rows = table.inputs[train].double().numpy()
    for column, values in zip(table.columns, rows[:, : table.numbers].T, strict=False):
        if np.isnan(values).all():
            raise InputError(f"column '{column}' has no value in the training split; leave it out")
    numbers = rows[:, : table.numbers]
    median = np.nanmedian(numbers, axis=0)
    filled = np.where(np.isnan(numbers), median, numbers)
    std = filled.std(0)
    categories = []
    for column, texts, codes in zip(
        table.columns[table.numbers :], table.texts, rows[:, table.numbers :].T, strict=True
    ):
        categories.append([texts[code] for code in np.unique(codes).astype(int) if code < len(texts)])
        if len(categories[-1]) > MAX_CATEGORIES:
            many = f"{len(categories[-1])} different texts, more than {MAX_CATEGORIES}"
            raise InputError(f"column '{column}' has {many}, and is no category; leave it out (--data.ignore)")
        if not categories[-1]:
            raise InputError(f"column '{column}' has no value in the training split; leave it out")
    return {
        "median": median.tolist(),
        "mean": filled.mean(0).tolist(),
        "std": np.where(std > 0, std, 1.0).tolist(),
        "categories": categories,
    }


def _check_targets(table: Table, train: Tensor) -> None:
    """Raises InputError if the training rows give nothing to learn."""
    targets = table.targets
    if table.class_names is None:
        for name, values in zip(table.target_names or [], targets[train].T, strict=True):
            if (values == values[0]).all():
                raise InputError(f"target '{name}' is {values[0].item():g} in every training row: nothing to learn")
    elif targets.ndim > 1:
        for name, flags in zip(table.class_names, targets[train].T, strict=True):
            if (flags == flags[0]).all():
                raise InputError(
                    f"target '{name}' is {int(flags[0])} in every training row: nothing to learn; leave it out, or "
                    f"choose another --data.split_seed"
                )
    elif len(table.class_names) < 2:
        raise InputError(f"the target has one class only, '{table.class_names[0]}': nothing to learn")
    else:
        for number, name in enumerate(table.class_names):
            rows = torch.nonzero(targets == number).flatten()
            if len(rows) == 1:
                raise InputError(
                    f"class '{name}' has one sample only (row {int(rows[0]) + 1}), which cannot be in training and in "
                    f"test; add some, or take it out"
                )
            if not (targets[train] == number).any():
                raise InputError(
                    f"class '{name}' ({len(rows)} samples, the first in row {int(rows[0]) + 1}) is not in the training "
                    f"split; choose other sizes or another --data.split_seed"
                )


class _FromScikitLearn(TableDataModule):
    """A table that comes inside scikit-learn."""

    def _bunch(self) -> Any:
        raise NotImplementedError

    def read(self) -> Table:
        bunch = self._bunch()
        inputs = torch.from_numpy(bunch.data).float()
        columns = [str(name) for name in bunch.feature_names]
        if "target_names" not in bunch:
            return Table(inputs, columns, [], torch.from_numpy(bunch.target).float().unsqueeze(1), None, ["target"])
        names = [str(name) for name in bunch.target_names]
        return Table(inputs, columns, [], torch.from_numpy(bunch.target).to(torch.uint8), names)


class Iris(_FromScikitLearn):
    """150 flowers of 3 species by 4 lengths in cm (Fisher 1936), with two rows as in R and not as in the UCI repository
    (see `sklearn.datasets.load_iris`)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_iris  # here, as below, so that only those who use it pay for the import

        return load_iris()


class Wine(_FromScikitLearn):
    """178 wines of 3 growers by 13 measurements (Forina et al. 1988, UCI)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_wine

        return load_wine()


class BreastCancer(_FromScikitLearn):
    """569 tumours, malignant or benign, by 30 measurements of the nuclei of their cells (Wolberg et al. 1995, UCI
    Breast Cancer Wisconsin, Diagnostic)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_breast_cancer

        return load_breast_cancer()


class Diabetes(_FromScikitLearn):
    """442 patients by 10 measurements; the target is how far the disease has gone after a year, 25 to 346 (Efron et al.
    2004, Least Angle Regression)."""

    def _bunch(self) -> Any:
        from sklearn.datasets import load_diabetes

        # Unscaled: scikit-learn's own scaling is that of all 442 rows.
        return load_diabetes(scaled=False)


class TableCSV(TableDataModule):
    """Your own table: a CSV (UTF-8, its first line the names of the columns) or a Parquet file.

    A column is numbers if every value in it is a number, else categories; a cell that is empty or says `?`, `NA`, `NaN`
    or `null` is missing. Numbers are kept as float32, to seven digits.

    Args:
        path: The file; `.parquet` is read as Parquet, all else as CSV.
        target: The column to predict, or several: flags (0 and 1, or true and false) of a multi-label classification,
            or numbers.
        task: `classification` or `regression`. By default, one target is classes if it is text, or whole numbers of at
            most 20 different values, and several are classes if all are flags; all else is numbers.
        categorical: Columns of numbers that are categories, such as a postcode.
        ignore: Columns to leave out, such as the number of the row.
        separator: Between two cells of a CSV (default: a comma, or a tab in a `.tsv`).
        **splitting: Arguments of `TableDataModule` and `ArrayDataModule`.

    Raises:
        InputError: What is wrong with the file, with the name of its column and the row, counted from 1 without the
            header.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str],
        task: Literal["classification", "regression"] | None = None,
        categorical: list[str] | None = None,
        ignore: list[str] | None = None,
        separator: str | None = None,
        **splitting: Any,
    ) -> None:
        super().__init__(**splitting)
        self.path = Path(path)
        self.target_columns = [target] if isinstance(target, str) else target
        self.task = task
        self.categorical, self.ignore = categorical or [], ignore or []
        self.separator = separator or ("\t" if self.path.suffix == ".tsv" else ",")

    def read(self) -> Table:
        frame = _read_file(self.path, self.separator)
        for name in [*self.target_columns, *self.categorical, *self.ignore]:
            if name not in frame.columns:
                there = ", ".join(frame.columns[:20])
                hint = "; is it another --data.separator?" if len(frame.columns) == 1 else ""
                raise InputError(
                    f"{self.path}: no column '{name}'{nearest(name, frame.columns)} (there are: {there}){hint}"
                )
        numbers: dict[str, np.ndarray[Any, Any]] = {}
        categories: dict[str, polars.Series] = {}
        for name in frame.columns:
            if name in self.target_columns or name in self.ignore:
                continue
            text, values = self._column(frame[name], as_text=name in self.categorical)
            if values is None:
                categories[name] = text
            else:
                numbers[name] = values
        if not numbers and not categories:
            raise InputError(f"{self.path}: no column is left to predict from")
        texts = [sorted(series.drop_nulls().unique().to_list()) for series in categories.values()]
        codes = [_codes(series, known) for series, known in zip(categories.values(), texts, strict=True)]
        inputs = torch.from_numpy(np.stack([*numbers.values(), *codes], 1).astype(np.float32))
        return Table(inputs, [*numbers, *categories], texts, *self._targets(frame))

    def _column(
        self, series: "polars.Series", as_text: bool = False
    ) -> tuple["polars.Series", "np.ndarray[Any, Any] | None"]:
        """A column as texts with nulls, and as float64 with NaN if all of it is numbers."""
        import polars as pl

        if series.dtype.is_nested() or series.dtype.is_temporal() or series.dtype in (pl.Binary, pl.Object):
            raise InputError(
                f"{self.path}: column '{series.name}' holds {series.dtype}, neither numbers nor texts; make it a "
                f"number or leave it out (--data.ignore)"
            )
        if series.dtype == pl.Boolean or series.dtype.is_numeric():
            values = series.cast(pl.Float64).fill_nan(None)
            text = series.set(values.is_null(), None).cast(pl.String)
        else:
            text = series.cast(pl.String).str.strip_chars()
            text = text.set(text.is_in(list(MISSING)).fill_null(True), None)
            values = text.cast(pl.Float64, strict=False)
        present, readable = len(text) - text.null_count(), len(values) - values.null_count()
        if as_text or (series.dtype != pl.Boolean and readable < present) or present == 0 == readable:
            if not as_text and 0.9 * present <= readable < present:
                row = int((values.is_null() & text.is_not_null()).arg_true()[0])
                raise InputError(
                    f"{self.path}: column '{series.name}', row {row + 1}: '{text[row]}' is not a number, as nearly all "
                    f"others are; mend it, or name the column in --data.categorical"
                )
            return text, None
        array = values.to_numpy().astype(float)
        if np.isinf(array).any():
            row = int(np.isinf(array).argmax())
            raise InputError(f"{self.path}: column '{series.name}', row {row + 1}: the value is infinite")
        return text, array

    def _targets(self, frame: "polars.DataFrame") -> tuple[Tensor, list[str] | None, list[str] | None]:
        """Targets, names of the classes, names of the numbers."""
        columns = {name: self._column(frame[name], as_text=False) for name in self._present(frame)}
        if len(columns) == 1:
            ((name, (text, values)),) = columns.items()
            whole = values is not None and bool((values == values.round()).all())
            few = values is not None and len(np.unique(values)) <= MAX_WHOLE_CLASSES
            if self.task == "classification" or (self.task is None and (values is None or (whole and few))):
                if values is None:
                    known, numbers = np.unique(text.to_numpy(), return_inverse=True)
                    names = [str(value) for value in known]
                else:
                    known, numbers = np.unique(values, return_inverse=True)
                    names = [str(int(value)) if whole else str(value) for value in known]
                return torch.from_numpy(numbers).to(smallest_type(len(names))), names, None
        flags = {name: _flags(text, values) for name, (text, values) in columns.items()}
        if self.task == "classification" or (self.task is None and all(f is not None for f in flags.values())):
            for name, flag in flags.items():
                if flag is None:
                    raise InputError(f"{self.path}: target '{name}' is no flag: 0 and 1 or true and false are")
            return torch.from_numpy(np.stack([f for f in flags.values() if f is not None], 1)), list(flags), None
        for name, (text, values) in columns.items():
            if values is None:
                raise InputError(
                    f"{self.path}: target '{name}' holds texts ('{text[0]}' in row 1); numbers are expected"
                )
        stacked = np.stack([values for _, values in columns.values() if values is not None], 1)
        return torch.from_numpy(stacked.astype(np.float32)), None, list(columns)

    def _present(self, frame: "polars.DataFrame") -> Sequence[str]:
        """The target columns, none of which may lack a value."""
        for name in self.target_columns:
            missing = self._column(frame[name], as_text=True)[0].is_null().arg_true()
            if len(missing):
                raise InputError(
                    f"{self.path}: target '{name}' has no value in row {missing[0] + 1} (and in {len(missing) - 1} "
                    f"more); take such rows out, or fill them"
                )
        return self.target_columns


def _read_file(path: Path, separator: str) -> "polars.DataFrame":
    try:
        import polars as pl
    except ImportError as error:
        raise InputError("TableCSV needs polars: pip install 'litnets[tables]'") from error
    try:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            frame = pl.read_parquet(content)
        else:
            content.decode("utf-8")
            # All as texts: what a column is, is decided here and told in the docstring.
            frame = pl.read_csv(content, separator=separator, infer_schema=False)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise InputError(f"{path}: line {line} is not UTF-8 (byte {byte:#x}); save the file as UTF-8") from error
    except pl.exceptions.NoDataError as error:
        raise InputError(f"{path}: the file is empty") from error
    except OSError as error:
        near = nearest(path.name, [file.name for file in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise InputError(f"{path}: cannot be read: {error.strerror or error}{near}") from error
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).strip().splitlines()[0]}") from error
    if not len(frame):
        raise InputError(f"{path}: the file has a header, but no row")
    return frame


def _codes(series: "polars.Series", texts: list[str]) -> "np.ndarray[Any, Any]":
    """Index of each value among `texts`, their number where it is missing."""
    place = {text: i for i, text in enumerate(texts)}
    return np.array([place.get(text, len(texts)) for text in series.to_list()], float)


def _flags(text: "polars.Series", values: "np.ndarray[Any, Any] | None") -> "np.ndarray[Any, Any] | None":
    """0 and 1 as uint8, if the column is flags."""
    if values is not None:
        return values.astype(np.uint8) if np.isin(values, (0, 1)).all() else None
    lower = np.array([str(value).lower() for value in text.to_list()])
    return (lower == "true").astype(np.uint8) if np.isin(lower, ("true", "false")).all() else None
