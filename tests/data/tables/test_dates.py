from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from litnets.data.tables.dates import (
    ISO,
    DateFormat,
    detect_format,
    encode_dates,
    is_ambiguous,
    parse_dates,
    part_names,
)
from litnets.data.tables.table import Encoding

DAY = (date(2024, 2, 29) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("texts", "pattern"),
    [
        (["2024-02-29", "1969-12-31"], ISO),
        (["2024-02-29T00:00:00Z", "2024-01-01T10:30:00+02:00"], ISO),
        (["2024/02/29", "2023/1/5"], "%Y/%m/%d"),
        (["29.02.2024", "1.3.2024"], "%d.%m.%Y"),
        (["29/02/2024", "01/02/2024"], "%d/%m/%Y"),
        (["02/29/2024", "01/02/2024"], "%m/%d/%Y"),
        (["29-02-2024 00:00", "01-02-2024 23:59"], "%d-%m-%Y %H:%M"),
    ],
)
def test_dates_are_recognized(texts: list[str], pattern: str) -> None:
    series = pl.Series("day", [*texts, None])
    date_format = detect_format(series)
    assert date_format is not None
    assert date_format.pattern == pattern
    days = parse_dates(series, pattern)
    assert days[0] == DAY
    assert days[2] is None
    assert parse_dates(pl.Series(["2024-02-29"]), pattern)[0] == DAY, "ISO 8601 is always read"


@pytest.mark.parametrize(
    "texts", [["2024-02-30"], ["20240229"], ["2024"], ["2024-02-29", "soon"], ["1.2"], ["10:30"], ["5.1.24"], []]
)
def test_other_texts_are_not_dates(texts: list[str]) -> None:
    series = pl.Series("day", texts, pl.String)
    assert detect_format(series) is None
    assert not is_ambiguous(series)


def test_dates_with_an_unknown_order_of_day_and_month_are_not_read() -> None:
    series = pl.Series("day", ["01/02/2024", "03/04/2024"])
    assert detect_format(series) is None
    assert is_ambiguous(series)


def test_dates_of_parquet_files_are_read() -> None:
    assert parse_dates(pl.Series([date(2024, 2, 29), None]), ISO).to_list() == [DAY, None]
    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    for series in (pl.Series([moment]), pl.Series([moment]).dt.convert_time_zone("Asia/Tokyo")):
        assert parse_dates(series, ISO).to_list() == [DAY + 0.5]
        assert detect_format(series) == DateFormat(ISO, has_time=True)


def test_parts_of_a_date_are_days_and_circles() -> None:
    days = np.array([0.0, 3.5, 365.2425 / 4, np.nan])
    names = part_names("day", DateFormat(ISO, has_time=True))
    assert names[:3] == ["day (days)", "day (year sin)", "day (year cos)"]
    parts = dict(zip(names, encode_dates(days, has_time=True), strict=True))
    np.testing.assert_array_equal(parts["day (days)"], days)
    np.testing.assert_allclose(parts["day (weekday cos)"][:2], [1, -1])
    np.testing.assert_allclose(parts["day (time cos)"][:2], [1, -1])
    np.testing.assert_allclose(parts["day (year sin)"][[0, 2]], [0, 1])
    assert all(np.isnan(part[3]) for part in parts.values())
    assert len(encode_dates(days, has_time=False)) == len(part_names("day", DateFormat(ISO, has_time=False))) == 5


def test_the_parts_of_a_date_belong_to_its_column() -> None:
    dates = {"built": DateFormat(ISO, has_time=False)}
    encoding = Encoding(["size", *part_names("built", dates["built"]), "color"], [["red", "blue"]], dates)
    assert encoding.input_indices == {"size": [0], "built": [1, 2, 3, 4, 5], "color": [6]}
