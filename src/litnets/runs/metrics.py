"""Read metrics.csv, which holds the metrics of a run: a row for each step at which metrics were logged."""

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from litnets.runs.storage import damaged, read_text

if TYPE_CHECKING:
    import polars

_NUMBERS = re.compile("(epoch|step)$|(train|val|test)/")  # the columns that hold nothing but numbers


def read_metrics(path: Path) -> "polars.DataFrame":
    """Return the columns of a metrics.csv as numbers. A cell without a value is null, and so is a text that a callback
    has logged.

    An incomplete last line is left out. The result is empty if there is no file.

    Raises:
        InputError: The file is damaged.
    """
    import polars as pl

    text = read_text(path) if path.exists() else ""
    lines = text[: text.rfind("\n") + 1]
    if not lines.strip():
        return pl.DataFrame()
    try:
        texts = pl.read_csv(BytesIO(lines.encode()), infer_schema=False)
        frame = texts.select(column.cast(pl.Float64, strict=bool(_NUMBERS.match(column.name))) for column in texts)
    except pl.exceptions.PolarsError as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from error
    if "epoch" not in frame.columns:
        raise damaged(path, "no column epoch")
    return frame
