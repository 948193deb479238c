"""Continue the times of a series beyond its end."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T", int, Decimal)

# A month, such as 1970-01 or 1970M01, or a quarter, such as 1970Q1 or 1970-Q1.
_PERIOD = re.compile(r"(\d{4})([-/ ]?(?:M|Q|))(\d{1,2})", re.IGNORECASE | re.ASCII)
_COMPACT_DATE = re.compile(r"(19|20)\d{6}", re.ASCII)


def continue_times(times: Sequence[str], steps: int) -> list[str]:
    """Return the times of the steps that follow a series, written as its last time is.

    They continue at their most frequent distance. Dates that are all on the same day of the month, or at the end of the
    month, continue by months. Daily dates without weekends skip weekends.

    Args:
        times: Times of the series, increasing: numbers, ISO 8601, months or quarters.
        steps: Number of times to return; they are empty if the distance is unknown.

    Example:
        >>> continue_times(["2024-01-31", "2024-02-29"], 2)
        ['2024-03-31', '2024-04-30']
    """
    texts = [time.strip() for time in times]
    if len(texts) < 2:
        return [""] * steps
    for continue_kind in (_continue_periods, _continue_compact_dates, _continue_numbers, _continue_dates):
        if (following := continue_kind(texts, steps)) is not None:
            return following
    return [""] * steps


def _continue_periods(texts: Sequence[str], steps: int) -> list[str] | None:
    matches = [match for text in texts if (match := _PERIOD.fullmatch(text))]
    if len(matches) < len(texts) or not all(match[2] for match in matches):
        return None
    is_quarter = matches[-1][2].upper().endswith("Q")
    per_year = 4 if is_quarter else 12
    ordinals = [int(match[1]) * per_year + int(match[3]) - 1 for match in matches]
    _, separator, last = matches[-1].groups()
    following = (divmod(ordinal, per_year) for ordinal in _extrapolate(ordinals, steps))
    return [f"{year:04}{separator}{period + 1:0{len(last)}}" for year, period in following]


def _continue_compact_dates(texts: Sequence[str], steps: int) -> list[str] | None:
    """Continue dates such as 20240131."""
    if not all(map(_COMPACT_DATE.fullmatch, texts)):
        return None
    try:
        dates = [datetime.strptime(text, "%Y%m%d") for text in texts]
    except ValueError:
        return None
    return [f"{time:%Y%m%d}" for time in _following_dates(dates, steps)]


def _continue_numbers(texts: Sequence[str], steps: int) -> list[str] | None:
    try:
        numbers = [Decimal(text) for text in texts]
    except InvalidOperation:
        return None
    return [str(number) for number in _extrapolate(numbers, steps)]


def _continue_dates(texts: Sequence[str], steps: int) -> list[str] | None:
    try:
        dates = [datetime.fromisoformat(text) for text in texts]
    except ValueError:
        return None
    write = _writer_like(texts[-1])
    return [write(time) for time in _following_dates(dates, steps)]


def _extrapolate(values: Sequence[T], steps: int) -> list[T]:
    """Return the values that follow, at the most frequent distance."""
    distance = Counter(after - before for before, after in pairwise(values)).most_common(1)[0][0]
    return [values[-1] + distance * step for step in range(1, steps + 1)]


def _following_dates(dates: Sequence[datetime], steps: int) -> list[datetime]:
    """Return the dates that follow, at the most frequent distance, which may be a number of months."""
    months = [12 * time.year + time.month - 1 for time in dates]
    are_ends = all(_is_end_of_month(time) for time in dates)
    are_monthly = all(after > before for before, after in pairwise(months))
    if are_monthly and (are_ends or len({(time.day, time.time()) for time in dates}) == 1):
        return [_in_month(dates[-1], month, are_ends) for month in _extrapolate(months, steps)]
    distances = Counter(after - before for before, after in pairwise(dates))
    distance = distances.most_common(1)[0][0]
    skips_weekends = distance == timedelta(days=1) and distances[timedelta(days=3)] > 0
    skips_weekends = skips_weekends and all(time.weekday() < 5 for time in dates)
    following: list[datetime] = []
    time = dates[-1]
    while len(following) < steps:
        time += distance
        if not (skips_weekends and time.weekday() >= 5):
            following.append(time)
    return following


def _is_end_of_month(time: datetime) -> bool:
    return (time + timedelta(days=1)).day == 1


def _in_month(time: datetime, month: int, at_end: bool) -> datetime:
    """Return a time moved to another month (12 * year + month, counted from 0), at the end of the month if `at_end`."""
    year, index = divmod(month, 12)
    last_day = (date(year + (index == 11), (index + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return time.replace(year=year, month=index + 1, day=last_day if at_end else min(time.day, last_day))


def _writer_like(text: str) -> Callable[[datetime], str]:
    """Return a function that writes dates as `text` is written."""
    if len(text) <= 10:
        return lambda time: time.date().isoformat()
    clock = re.split(r"[Z+]|-", text[11:], maxsplit=1)[0]
    fraction = clock.partition(".")[2]
    timespec = ("milliseconds" if len(fraction) == 3 else "microseconds") if fraction else ""
    timespec = timespec or ("hours", "minutes", "seconds")[min(clock.count(":"), 2)]
    suffix = "Z" if text.endswith("Z") else ""

    def write(time: datetime) -> str:
        written = time.isoformat(text[10], timespec)
        return written.removesuffix("+00:00") + suffix if suffix else written

    return write
