from pathlib import Path
from typing import Any

import pytest

from litnets.data import TableCSV


def notes(header: str, rows: list[str], capsys: pytest.CaptureFixture[str], **arguments: Any) -> list[str]:
    Path("t.csv").write_text("\n".join([header, *rows]))
    TableCSV("t.csv", **({"target": "y"} | arguments)).setup()
    return capsys.readouterr().out.splitlines()


def noise(i: int) -> int:
    return i * i % 31


@pytest.mark.parametrize(
    ("feature", "target", "is_copy"),
    [
        (lambda i: i % 3, lambda i: "abc"[i % 3], True),
        (lambda i: "abc"[i % 3], lambda i: i % 3, True),
        (lambda i: "xyz"[i % 3] if i % 10 else "", lambda i: "abc"[i % 3], True),
        (lambda i: i % 6, lambda i: "abc"[i % 3], False),  # two values for each class
        (lambda i: i % 3 if i else 1, lambda i: "abc"[i % 3], False),
        (lambda i: noise(i) + i / 100, lambda i: 2.5 * noise(i) + i / 40, True),
        (lambda i: -noise(i) - i / 100, lambda i: noise(i) + i / 100, True),
        (lambda i: f"code {noise(i)}", lambda i: noise(i) + 0.5, True),
        (lambda i: noise(i) + i / 100, lambda i: 7 * i % 61 + 0.5, False),
    ],
)
def test_features_that_are_the_target_in_other_words(
    feature: Any, target: Any, is_copy: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{feature(i)},{7 * i % 13},{target(i)}" for i in range(120)]
    lines = [line for line in notes("f,x,y", rows, capsys) if "one to one" in line]
    assert len(lines) == is_copy
    if is_copy:
        assert lines[0].startswith("t.csv: column 'f' is one to one with ")


def test_constant_columns_are_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"5,b,{noise(i)},{i % 2}" for i in range(60)]
    lines = [line for line in notes("c,d,x,y", rows, capsys) if "constant" in line]
    assert lines == [
        "t.csv: columns 'c', 'd' are constant in the training split and without information; see --data.ignore"
    ]


def test_equal_rows_in_other_splits_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{noise(i)},{i / 8},{i % 2}" for i in range(60)]
    assert not [line for line in notes("a,b,y", rows, capsys) if "equal a training row" in line]
    (line,) = [line for line in notes("a,b,y", rows * 2, capsys) if "equal a training row" in line]
    module = TableCSV("t.csv", "y")
    module.setup()
    seen = {i % 60 for i in module.splits["train"].indices.tolist()}
    counts = {name: sum(i % 60 in seen for i in module.splits[name].indices.tolist()) for name in ("val", "test")}
    assert counts["val"] > 5
    assert line.startswith(
        f"t.csv: {counts['val']} of 24 val rows and {counts['test']} of 24 test rows equal a training row in all "
    )
