"""`litnets report`."""

import pytest

from litnets.__main__ import main
from tests.helpers.tiny_runs import record, write_run


def test_the_report_is_written_into_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("1")
    record(run, [0, 1, 2] * 5, [0, 1, 1] * 5)
    assert main(["report", "pets"]) == 0
    assert capsys.readouterr().out == f"report: {run.report}\nmodel card: {run.model_card}\n"
    assert run.report.read_text().startswith("<!doctype html>")
    assert run.model_card.read_text().startswith("# pets / 1\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "report: the following arguments are required: RUN"),
        (["none"], "there is no folder none"),
        (["pets", "more"], "report: unrecognized arguments: more"),
    ],
)
def test_bad_arguments_get_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run("1")
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err
