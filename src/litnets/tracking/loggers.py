"""The loggers of every run: metrics.csv, with one row per step, and TensorBoard."""

import csv
import os
import re
from argparse import Namespace
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from litnets.runs.folder import Run
from litnets.runs.storage import damaged, not_written
from litnets.safety.files import open_in_place, open_regular

_MAX_FIELD = 100_000  # characters; a field of metrics.csv is a number or a name


class MetricsCSV(Logger):
    """Log all metrics into one table: a row for each step at which something was logged, a column for each metric.
    (Lightning's CSVLogger writes a row for each call, and deletes the rows of the run that it resumes.)

    The file is complete after each call of `save`. Appending a row is one write; a new column rewrites the file. Rows
    that the file already holds are kept.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._has_new_values = False
        self._written = 0  # number of rows in the file that will not change any more
        self._end = 0  # the byte at which those rows end; 0: rewrite the file

    @property
    def name(self) -> str:
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        return self.path.parent.name

    @property
    def log_dir(self) -> str:
        """The run folder; Lightning's `trainer.log_dir`."""
        return str(self.path.parent)

    @property
    def save_dir(self) -> str:
        return self.log_dir

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the hyperparameters are in config.yaml and in the checkpoint."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._columns:
            self._read()
        if self._rows and self._rows[-1]["step"] == step:
            self._rows[-1].update(metrics)
        else:
            self._rows.append({"step": step, **metrics})
        self._has_new_values = True
        if new := [name for name in metrics if name not in self._columns]:
            self._columns += sorted(new)
            self._written = self._end = 0

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that were logged since the last call.

        Raises:
            InputError: The file cannot be written, or the run folder is gone.
        """
        if not self._has_new_values:
            return
        try:
            self._write()
        except OSError as error:
            raise not_written(self.path, error) from error
        self._has_new_values = False

    def _write(self) -> None:
        with open_in_place(self.path) as file:
            if file.seek(0, os.SEEK_END) < self._end:  # the file was removed or truncated by someone else
                self._written = self._end = 0
            file.seek(self._end)
            if not self._end:
                file.write(self._line(self._columns))
            # The last row may still get more values, so it is written but not counted as final.
            file.writelines(
                self._line([row.get(name, "") for name in self._columns]) for row in self._rows[self._written : -1]
            )
            self._written, self._end = len(self._rows) - 1, file.tell()
            file.write(self._line([self._rows[-1].get(name, "") for name in self._columns]))
            file.truncate()

    def state_dict(self) -> dict[str, Any]:
        """Return the extent of the table: its columns, the number of rows, and the last row so far."""
        last = self._rows[-1] if self._rows else {}
        return {"columns": list(self._columns), "rows": len(self._rows), "last": dict(last)}

    @rank_zero_only
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Drop the rows that were logged after `state`, because they will be logged again. The file keeps them until
        the next row is written."""
        self._read()
        if not state:  # nothing was logged to this table before
            return
        self._columns = list(state["columns"]) or self._columns[:2]
        self._rows = [
            {name: value for name, value in row.items() if name in self._columns} for row in self._rows[: state["rows"]]
        ]
        if self._rows:
            self._rows[-1] = dict(state["last"])
        self._written = self._end = 0

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _read(self) -> None:
        self._columns, self._rows = ["epoch", "step"], []
        try:
            with open_regular(self.path) as file:
                text = file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return
        limit = csv.field_size_limit(_MAX_FIELD)  # a global setting, which may have been changed for reading data
        try:
            lines = list(csv.reader(StringIO(text, newline="")))
        except csv.Error as error:
            raise damaged(self.path, str(error)) from error
        finally:
            csv.field_size_limit(limit)
        if not lines:
            return
        self._columns, *rows = lines
        if "step" not in self._columns:
            raise damaged(self.path, "no column `step`")
        for number, row in enumerate(rows, start=2):
            values: dict[str, Any] = dict(zip(self._columns, row, strict=False))
            if re.fullmatch("[0-9]{1,18}", values.get("step", "")):
                self._rows.append(values | {"step": int(values["step"])})
            elif number < len(lines):  # the last row may be incomplete if the process was killed
                raise damaged(self.path, f"row {number} has no step")

    @staticmethod
    def _line(values: list[Any]) -> bytes:
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue().encode()


def default_loggers(user_loggers: list[Logger], run: Run, purge_step: int | None = None) -> list[Logger]:
    """Return the loggers of a run: metrics.csv always, and TensorBoard unless the user configured loggers.

    Args:
        user_loggers: The loggers of the configuration.
        run: The run to log to.
        purge_step: The step at which a resumed run continues to log. TensorBoard hides what was logged at later steps;
            None hides nothing.
    """
    if not user_loggers:
        tensorboard = TensorBoardLogger(
            str(run.folder), name="", version="tensorboard", default_hp_metric=False, purge_step=purge_step
        )
        user_loggers = [tensorboard]
    return [MetricsCSV(run.metrics), *user_loggers]
