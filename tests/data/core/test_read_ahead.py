"""Samples are read in order while earlier ones are used, and reading stops when they are no longer needed."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from litnets.data.core.class_folders import read_all
from litnets.data.core.read_ahead import read_ahead
from litnets.errors import InputError


def test_the_next_item_and_no_other_is_read_while_a_result_is_used() -> None:
    begun: list[int] = []
    begins = threading.Condition()

    def read(item: int) -> int:
        with begins:
            begun.append(item)
            begins.notify()
        return item * 10

    results = read_ahead(range(4), read)
    for item, result in enumerate(results):
        assert result == item * 10
        expected = list(range(min(item + 2, 4)))
        with begins:
            assert begins.wait_for(lambda: len(begun) >= len(expected), timeout=30)  # noqa: B023 called at once
        assert begun == expected


def test_an_error_is_raised_in_place_of_a_result() -> None:
    def items() -> Iterator[int]:
        yield from (1, 0, 2)
        raise InputError("no more")

    results = read_ahead(items(), lambda item: 6 // item)
    assert next(results) == 6
    with pytest.raises(ZeroDivisionError):
        next(results)

    texts = read_ahead(items(), str)
    assert [next(texts) for _ in range(3)] == ["1", "0", "2"]
    with pytest.raises(InputError, match="no more"):
        next(texts)


def test_closing_stops_after_the_files_that_are_being_read() -> None:
    files = [Path(str(index)) for index in range(1000)]
    has_begun = threading.Event()
    done: list[int] = []

    def read(index: int) -> None:
        has_begun.set()
        time.sleep(0.01)
        done.append(index)

    def read_chunk(chunk: int) -> None:
        if chunk:
            read_all(files, read, skip_broken=False, kind="image")

    results = read_ahead([0, 1], read_chunk)
    next(results)
    assert has_begun.wait(timeout=30)
    results.close()
    assert len(done) < len(files) / 2
    assert read_all(files[:3], lambda index: index, skip_broken=False, kind="image")[0] == [0, 1, 2]
