"""The benchmarks of `make bench` with `--quick`: they run and write their results. Nothing is timed here."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.images import synthetic, write_mnist
from benchmarks.result import Result, divide, interleave
from litnets.data import MNIST

STEPS = [f"step: {name} against a raw loop" for name in ("MLP 128", "MLP 1024", "CNN", "RNN")]


def run_benchmarks(names, tmp_path, capsys):
    """Run benchmarks. Return the rows of the table, without header and footer, and the results in the JSON file."""
    path = tmp_path / "folder" / "results.json"
    assert main(["--quick", "--only", names, "--data-dir", str(tmp_path / "nothing"), "--json", str(path)]) == 0
    header, *rows, footer = capsys.readouterr().out.splitlines()
    assert header.split() == ["benchmark", "target", "median"]
    assert "synthetic" in footer
    content = json.loads(path.read_text())
    assert [result["name"] for result in content["results"]] == [row.split("  ")[0] for row in rows]
    assert all(result["rounds"] for result in content["results"])
    assert content["environment"]["versions"]["torch"]
    return rows, content["results"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:The '.*_dataloader' does not have many")
@pytest.mark.filterwarnings("ignore:It is recommended to use")
def test_table_and_json_agree(tmp_path, capsys):
    rows, results = run_benchmarks("loader,step,growth,lengths,predict", tmp_path, capsys)
    names = [result["name"] for result in results]
    assert [name for name in names if "raw loop" in name] == STEPS
    targets = {result["name"]: (result["bound"], result["target"]) for result in results}
    assert targets["loader: speed against torchvision's DataLoader"] == ("lower", 40)
    assert targets[STEPS[0]] == ("upper", 1.4)
    for row, result in zip(rows, results, strict=True):
        assert row.endswith("!") == (result["target_met"] is False)


@pytest.mark.slow
def test_benchmarks_that_start_processes(tmp_path, capsys):
    _, results = run_benchmarks("epoch,memory,start,processes,jobs", tmp_path, capsys)
    names = [result["name"].split(":")[0] for result in results]
    assert names == ["epoch", "memory", "start", "processes", "jobs", "jobs"]


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--only", "step,spet"])
    assert exit_info.value.code == 2
    assert "no benchmark spet (choose from: loader," in capsys.readouterr().err


def test_interleave_drops_the_warm_up_round():
    calls = []

    def run(name, values):
        calls.append(name)
        return values.pop(0)

    a, b = [100.0, 2.0, 4.0, 90.0], [100.0, 1.0, 1.0, 9.0]
    seconds = interleave(3, a=lambda: run("a", a), b=lambda: run("b", b))
    assert calls == ["a", "b"] * 4
    ratios = divide(seconds["a"], seconds["b"])
    assert ratios == [2, 4, 10]
    assert Result("", ratios).median == 4
    assert Result("", ratios).target_met is None
    assert [Result("", ratios, target).target_met for target in (3, 5)] == [True, False]
    assert [Result("", ratios, target, "upper").target_met for target in (3, 5)] == [False, True]


def test_synthetic_images_are_read_as_mnist(tmp_path):
    write_mnist(tmp_path, 50, 20)
    data = MNIST(data_dir=str(tmp_path), val_size=10)
    data.setup()
    images, targets = synthetic(50)
    assert (data.splits["train"].inputs == images).all()
    assert (data.splits["train"].targets == targets).all()
    assert len(data.splits["test"]) == 20
