"""`litnets compare`: what it prints and writes."""

import csv
import json
from pathlib import Path

import pytest

from litnets.__main__ import main
from tests.helpers.tiny_runs import record, write_run


def test_the_command_compares_two_networks(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_run("1", score=0.95, lr=0.1), write_run("2")
    record(a, [0, 1, 2] * 20, [0, 1, 2] * 20)
    record(b, [0, 1, 0] * 20, [0, 1, 2] * 20)
    assert main(["compare", str(a.folder), str(b.folder)]) == 0
    output = capsys.readouterr().out
    assert "A  model.lr=0.1\nB  model.lr=0.01\n" in output
    assert "A is better: B - A on 60 samples: accuracy -0.3333" in output
    assert "samples that only one of them answers correctly:\n" in output
    assert "and 10 more\n" in output


def test_the_command_compares_settings_over_their_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    for seed, scores in enumerate([(0.90, 0.91), (0.92, 0.93), (0.91, 0.89)]):
        write_run(f"a{seed}", scores[0], seed, score=0.95, lr=0.1)
        write_run(f"b{seed}", scores[1], seed)
    assert main(["compare", "pets"]) == 0
    output = capsys.readouterr().out
    assert "0.9100 ± 0.0100" in output
    assert "A and B: cannot tell (more than 1,000 seeds of each needed)" in output


def test_seeds_of_one_setting(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("1", seed=1)
    write_run("2", seed=2)
    assert main(["compare", "pets"]) == 0
    assert "The runs differ only in their seed" in capsys.readouterr().out


def test_the_comparison_is_written_as_csv_and_json() -> None:
    write_run("1", seed=1, lr=0.1, score=0.95)
    write_run("2", seed=2)
    assert main(["compare", "pets", "--output", "c.csv"]) == 0
    rows = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    assert [(row["setting"], row["seed"], row["model.lr"], row["test_f1"]) for row in rows] == [
        ("A", "1", "0.1", "0.8"),
        ("B", "2", "0.01", "0.8"),
    ]
    assert main(["compare", "pets", "--output", "c.json"]) == 0
    content = json.loads(Path("c.json").read_text())
    assert content["metric"] == "accuracy"
    assert [run["setting"] for run in content["runs"]] == ["A", "B"]


def test_the_first_line_of_a_page_answers_whether_the_best_of_several_is_better() -> None:
    runs = [write_run(str(i), score=0.95 - i / 100, lr=0.1**i) for i in range(3)]
    record(runs[0], [0, 1, 2] * 20, [0, 1, 2] * 20)
    record(runs[1], [0, 1, 2] * 19 + [0, 1, 0], [0, 1, 2] * 20)
    record(runs[2], [0, 1, 0] * 20, [0, 1, 2] * 20)
    assert main(["compare", *(str(run.folder) for run in runs), "--output", "c.html"]) == 0
    page = Path("c.html").read_text()
    assert "Best by validation: A, one run in pets; on the test split it may be no better than B.<" in page


def test_the_comparison_is_written_as_a_page() -> None:
    a, b = write_run("1", score=0.95, lr=0.1), write_run("2", experiment_tag="<script>")
    record(a, [0, 1, 2] * 20, [0, 1, 2] * 20)
    record(b, [0, 1, 0] * 20, [0, 1, 2] * 20)
    assert main(["compare", str(a.folder), str(b.folder), "--output", "c.html"]) == 0
    page = Path("c.html").read_text()
    assert "A is better: B - A on 60 samples: accuracy -0.3333" in page
    assert "Best by validation" not in page  # the first line is the verdict
    assert page.count("<figure>") == 2  # score against time, and against parameters
    assert "<td>model.lr</td>" not in page
    assert "<th>model.lr</th>" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert main(["compare", str(a.folder), str(b.folder), "--output", "c.html"]) == 2  # exists


def test_runs_that_were_not_tested_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("1")
    write_run("2", lr=0.1)
    write_run("3").results.unlink()
    assert main(["compare", "pets"]) == 0
    assert "left out, because they were not tested: checkpoints/pets/3" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: RUN"),
        (["none"], "there is no folder none"),
        (["checkpoints/pets/1"], "expected at least two tested runs, got 1"),
        (["pets", "--metric", "speed"], "has no test metric 'speed'; it has loss, accuracy, f1"),
        (["pets", "--output", "c.txt"], "expected a name that ends in .html, .csv or .json"),
        (["pets", "--output", "old.csv"], "old.csv exists; --overwrite replaces it"),
        (["pets", "--output", "none/c.csv"], "--output none/c.csv: there is no folder none"),
        (["pets", "--sort"], "unrecognized arguments: --sort"),
        (["checkpoints/pets/9*"], "no run matches"),
    ],
)
def test_bad_arguments_get_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run("1")
    write_run("2", lr=0.1)
    Path("old.csv").write_text("")
    assert main(["compare", *arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert not output.out
    assert Path("old.csv").read_text() == ""


def test_damaged_predictions_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    a, _ = write_run("1"), write_run("2", lr=0.1)
    a.recorded_predictions("test").write_bytes(b"PAR1 nonsense")
    assert main(["compare", "pets"]) == 2
    assert "test_predictions.parquet is damaged" in capsys.readouterr().err
