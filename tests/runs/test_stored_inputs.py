from pathlib import Path

import polars as pl
import pytest

from litnets.errors import InputError
from litnets.runs.stored_inputs import StoredInput, load_inputs, save_inputs, take


def text(index: int, size: int) -> StoredInput:
    return StoredInput("test", index, "example", "text", b"x" * size)


def test_inputs_are_read_as_they_were_written() -> None:
    inputs = [text(3, 5), StoredInput("train", 0, "mistake", "image", b"\x89PNG\x00\xff")]
    save_inputs(Path("inputs.parquet"), inputs)
    assert load_inputs(Path("inputs.parquet")) == inputs


def test_a_damaged_file_is_an_error() -> None:
    Path("inputs.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"inputs\.parquet is damaged"):
        load_inputs(Path("inputs.parquet"))


def test_samples_are_taken_until_the_limits_are_reached() -> None:
    samples = [[text(0, 40)], [text(1, 70)], [text(2, 20), text(2, 30)], [text(3, 10)]]
    assert [stored.index for stored in take(samples, max_inputs=9, max_bytes=100)] == [0, 2, 2, 3]
    assert [stored.index for stored in take(samples, max_inputs=2, max_bytes=100)] == [0, 3]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pl.lit("x").alias("index"), "expected columns of the types"),
        (pl.lit("x").alias("content"), "expected columns of the types"),
        (pl.lit(None, pl.Binary).alias("content"), "a cell is empty"),
    ],
)
def test_inputs_of_other_types_are_damaged(column, problem):
    path = Path("inputs.parquet")
    save_inputs(path, [StoredInput("test", 0, "example", "text", b"a")])
    pl.read_parquet(path).with_columns(column).write_parquet(path)
    with pytest.raises(InputError, match=f"is damaged \\({problem}"):
        load_inputs(path)


@pytest.mark.parametrize("content", [b"[1, 2]", b'{"a": ', b"\xff", b"[" * 100_000])
def test_a_row_is_a_json_object(content: bytes) -> None:
    save_inputs(Path("inputs.parquet"), [StoredInput("test", 3, "example", "row", content)])
    with pytest.raises(InputError, match=r"is damaged \(test 3: expected a row as a JSON object\)"):
        load_inputs(Path("inputs.parquet"))
