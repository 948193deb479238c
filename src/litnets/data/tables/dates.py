"""Dates as numbers: days since 1970, and the season, the weekday and the time of day as points on a circle.

A column of dates becomes the columns of `part_names`, here those of a column `day`:

    day (days)                              days since 1970-01-01, with the time of day as a fraction
    day (year sin), day (year cos)          the position in the year
    day (weekday sin), day (weekday cos)    the weekday
    day (time sin), day (time cos)          the time of day, if a training date has one
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars

ISO = "ISO 8601"
_EPOCH = datetime(1970, 1, 1)
# The first and the last day of the years that Python and polars can write, 1 to 9999.
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")
_PATTERNS = (ISO, *(f"{day}{time}" for day in _DAYS for time in ("", " %H:%M", " %H:%M:%S")))
_LOOKS_LIKE_A_DATE = r"^(\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}([./-])\d{1,2}[./-]\d{4})([ T]\d|$)"


@dataclass(frozen=True)
class DateFormat:
    """How the dates of a column are written.

    Args:
        pattern: `ISO 8601`, or a pattern of strftime.
        has_time: Whether the time of day is an input.
    """

    pattern: str
    has_time: bool


def part_names(name: str, date_format: DateFormat) -> list[str]:
    """Return the names of the columns that a column of dates becomes."""
    circles = ("year", "weekday", "time") if date_format.has_time else ("year", "weekday")
    return [f"{name} (days)", *(f"{name} ({circle} {function})" for circle in circles for function in ("sin", "cos"))]


def encode_dates(days: NDArray[np.float64], has_time: bool) -> list[NDArray[np.float64]]:
    """Return the columns of `part_names` for days since 1970-01-01, `(rows,)`; NaN stays NaN."""
    turns = [days / 365.2425, days / 7]
    if has_time:
        turns.append(days)
    circles = [function(2 * np.pi * turn) for turn in turns for function in (np.sin, np.cos)]
    return [days, *circles]


def parse_dates(series: "polars.Series", pattern: str) -> "polars.Series":
    """Return days since 1970-01-01 as Float64, null for cells that are not dates.

    Args:
        series: Texts, or dates of a Parquet file. Times with a UTC offset are converted to UTC.
        pattern: See `DateFormat`. Dates in ISO 8601 are read as well.
    """
    import polars as pl

    if series.dtype != pl.String:
        return stored_days(series)
    texts = series.unique().drop_nulls()
    days = dict(zip(texts.to_list(), _parse_texts(texts, pattern), strict=True))
    return pl.Series(series.name, [None if text is None else days[text] for text in series.to_list()], pl.Float64)


def stored_days(series: "polars.Series") -> "polars.Series":
    """Return days since 1970-01-01 as Float64 for a date column of a Parquet file, in UTC."""
    import polars as pl

    units = {"ms": 86_400e3, "us": 86_400e6, "ns": 86_400e9}
    unit = units[series.dtype.time_unit] if isinstance(series.dtype, pl.Datetime) else 1.0
    return series.to_physical().cast(pl.Float64) / unit


def detect_format(series: "polars.Series") -> DateFormat | None:
    """Return the format of a column if all of its texts are dates in one format, or it is a date column of Parquet.

    None for other columns, and if day and month could be interchanged.
    """
    import polars as pl

    pattern: str | None = ISO
    if series.dtype == pl.String:
        texts = series.unique().drop_nulls()
        patterns = _possible_patterns(texts.head(100))
        patterns = _possible_patterns(texts) if patterns else patterns
        pattern = patterns[0] if len(patterns) == 1 else None
    elif series.dtype != pl.Date and not isinstance(series.dtype, pl.Datetime):
        pattern = None
    if pattern is None:
        return None
    days = parse_dates(series, pattern).drop_nulls()
    return DateFormat(pattern, bool((days != days.floor()).any()))


def is_ambiguous(series: "polars.Series") -> bool:
    """Return whether the texts of a column are dates, but it is unknown which number is the day."""
    import polars as pl

    return series.dtype == pl.String and len(_possible_patterns(series.unique().drop_nulls())) > 1


def _possible_patterns(texts: "polars.Series") -> list[str]:
    """Return the patterns that all texts follow."""
    if not len(texts) or not texts.str.contains(_LOOKS_LIKE_A_DATE).all():
        return []
    patterns = []
    for pattern in _PATTERNS:
        if None not in _parse_texts(texts, pattern):
            if pattern == ISO:
                return [ISO]
            patterns.append(pattern)
    return patterns


def _parse_texts(texts: "polars.Series", pattern: str) -> list[float | None]:
    """Return the days of each text, None for texts that are not dates."""
    import polars as pl

    if pattern != ISO:
        moments = texts.str.to_datetime(pattern, time_unit="us", strict=False)
        parsed = (moments.cast(pl.Int64) / 86_400e6).to_list()
        if None not in parsed:
            return parsed
        return [_parse_iso(text) if days is None else days for text, days in zip(texts.to_list(), parsed, strict=True)]
    return [_parse_iso(text) for text in texts.to_list()]


def _parse_iso(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) / timedelta(days=1)
