import os
from pathlib import Path

import pytest

from litnets.data.core.csv_files import (
    decode_utf8,
    detect_separator,
    iter_csv,
    missing_column,
    open_csv,
    read_bytes,
    read_utf8,
)
from litnets.errors import InputError

PATH = Path("a.csv")


def test_read_utf8_removes_the_byte_order_mark() -> None:
    PATH.write_bytes("\ufeffx,é\n".encode())
    assert read_bytes(PATH) == "\ufeffx,é\n".encode()
    assert read_utf8(PATH) == "x,é\n"


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_bytes_that_are_not_utf8_are_located(prefix: bytes) -> None:
    message = rf"^a.csv, line 3: not UTF-8 \(byte 0xe9 at offset {len(prefix) + 7}\); save the file as UTF-8$"
    with pytest.raises(InputError, match=message):
        decode_utf8(PATH, prefix + b"x\ny\ncaf\xe9\n")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \r\n\t\n"])
def test_empty_files_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^a.csv: the file is empty$"):
        decode_utf8(PATH, content)


def test_unreadable_files_are_refused() -> None:
    Path("b.csv").touch()
    with pytest.raises(InputError, match=r"^bb.csv: cannot be read: No such file .*; did you mean 'b.csv'\?$"):
        read_bytes(Path("bb.csv"))
    with pytest.raises(InputError, match=r"^no/a.csv: cannot be read: No such file or directory$"):
        read_bytes(Path("no/a.csv"))
    with pytest.raises(InputError, match=r"expected a file, got a folder$"):
        read_bytes(Path.cwd())
    os.mkfifo("fifo.csv")
    with pytest.raises(InputError, match="is a FIFO"):
        read_bytes(Path("fifo.csv"))


def test_rows_come_with_their_last_line() -> None:
    text = '\n\r\n x ,y\n1,"a\n\nb"\n\n,\n'
    assert list(iter_csv(PATH, text)) == [(3, [" x ", "y"]), (6, ["1", "a\n\nb"]), (8, ["", ""])]
    header, rows = open_csv(PATH, text)
    assert header == ["x", "y"]
    assert list(rows) == [(6, ["1", "a\n\nb"]), (8, ["", ""])]
    assert open_csv(PATH, "a;b\n", ";")[0] == ["a", "b"]
    cell = "x" * 200_000
    assert list(iter_csv(PATH, cell)) == [(1, [cell])]


def test_malformed_csv_is_refused() -> None:
    with pytest.raises(InputError, match=r"^a.csv: two columns are named 'x'; rename one$"):
        open_csv(PATH, "x,y, x\n")
    _, rows = open_csv(PATH, "x,y\n1,2\n3\n")
    assert next(rows) == (2, ["1", "2"])
    with pytest.raises(InputError, match=r"^a.csv, line 3: expected 2 cells as in the header, got 1; put cells"):
        next(rows)
    with pytest.raises(InputError, match=r"^a.csv, line 2: not valid CSV: unexpected end of data$"):
        list(iter_csv(PATH, 'x\n"1'))
    assert list(iter_csv(PATH, '"x"y', strict=False)) == [(1, ["xy"])]


def test_a_missing_column_is_reported_with_a_suggestion() -> None:
    message = "a.csv: no column 'labl'; did you mean 'label'? (columns: text, label)"
    assert missing_column(PATH, "labl", ["text", "label"]) == message
    assert missing_column(PATH, "y", [f"x{i}" for i in range(21)]).endswith("x18, x19 and 1 more)")


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1;2\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("a;b\n1,5;2\n3;4,5\n", ";"),
        ("a;b,c\n1;2,3\n", ","),  # both divide the lines evenly
        ("a;b|c\n1;2|3\n", ","),  # neither is the only one
        ("a\n1\n", ","),
        ('a;b\n"1;5";2\n', ";"),
        ("a;b\r1;2\r", ";"),
    ],
)
def test_the_separator_is_detected_if_only_one_divides_the_lines(text: str, separator: str) -> None:
    assert detect_separator(PATH, text) == separator


def test_columns_without_a_header_are_numbered() -> None:
    header, rows = open_csv(PATH, "x,y\n1,2\n", has_header=False)
    assert header == ["column_1", "column_2"]
    assert list(rows) == [(1, ["x", "y"]), (2, ["1", "2"])]
    with pytest.raises(InputError, match=r"line 2: expected 2 cells as in the first line, got 1"):
        list(open_csv(PATH, "x,y\n1\n", has_header=False)[1])


def test_separators_at_the_end_of_a_line_are_ignored() -> None:
    header, rows = open_csv(PATH, "x,y,,\n1,2\n3,4,\n5,,, \n")
    assert header == ["x", "y"]
    assert [cells for _, cells in rows] == [["1", "2"], ["3", "4"], ["5", ""]]
    with pytest.raises(InputError, match=r"line 2: expected 2 cells as in the header, got 4"):
        list(open_csv(PATH, "x,y\n1,2,,3\n")[1])
