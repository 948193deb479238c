"""What every run logs to: metrics.csv, one row a step, and TensorBoard."""

import csv
from argparse import Namespace
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from litnets.runs.folder import Run


class MetricsCSV(Logger):
    """Writes every logged value into one table: a row for each step at which something was logged, a column for each
    name. (Lightning's CSVLogger writes a row for each call, and deletes the rows of the run that it goes on with.)

    The file on disk is complete after each call. A row costs one write; a new column rewrites the file. What the file
    holds already is kept and gone on with.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._written = 0  # rows that are in the file for good
        self._end = 0  # where they end, in bytes; 0: the file is to be written anew

    @property
    def name(self) -> str:
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        return self.path.parent.name

    @property
    def log_dir(self) -> str:
        """The run's folder; Lightning's `trainer.log_dir`."""
        return str(self.path.parent)

    @property
    def save_dir(self) -> str:
        return self.log_dir

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml and in the checkpoint."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._columns:
            self._read()
        if self._rows and self._rows[-1]["step"] == step:
            self._rows[-1].update(metrics)
        else:
            self._rows.append({"step": step, **metrics})
        if new := [name for name in metrics if name not in self._columns]:
            self._columns += sorted(new)
            self._written = self._end = 0

    @rank_zero_only
    def save(self) -> None:
        if not self._rows:
            return
        with self.path.open("r+" if self._end else "w", newline="") as file:
            file.seek(self._end)
            if not self._end:
                file.write(self._line(self._columns))
            # The last row may still grow, so it is written but not counted.
            file.writelines(
                self._line([row.get(name, "") for name in self._columns]) for row in self._rows[self._written : -1]
            )
            self._written, self._end = len(self._rows) - 1, file.tell()
            file.write(self._line([self._rows[-1].get(name, "") for name in self._columns]))
            file.truncate()

    def state_dict(self) -> dict[str, Any]:
        """How far the table goes: its rows, and the last one as it is."""
        last = self._rows[-1] if self._rows else {}
        return {"columns": list(self._columns), "rows": len(self._rows), "last": dict(last)}

    @rank_zero_only
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what was logged after `state`: it will be logged again."""
        self._read()
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
        self._columns = ["epoch", "step"]
        if self.path.exists():
            with self.path.open(newline="", errors="replace") as file:
                reader = csv.DictReader(file)
                # A last row that was cut off when its process was killed has no step, or not all of its values.
                self._rows = [{**row, "step": int(row["step"])} for row in reader if (row["step"] or "").isdigit()]
                self._columns = list(reader.fieldnames or self._columns)

    @staticmethod
    def _line(values: list[Any]) -> str:
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


def default_loggers(chosen: list[Logger], run: Run, again_from: int | None = None) -> list[Logger]:
    """metrics.csv always, and TensorBoard unless others were chosen.

    Args:
        chosen: Loggers of the configuration.
        run: Where they write.
        again_from: The step from which on TensorBoard's events are forgotten; None keeps all.
    """
    if not chosen:
        purge: dict[str, Any] = {} if again_from is None else {"purge_step": again_from}
        folder = str(run.folder)
        chosen = [TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False, **purge)]
    return [MetricsCSV(run.metrics), *chosen]
