"""The suite of `make bench`, in its tiniest form: whether it runs and what it writes. Nothing is timed here."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.figure import Figure, divided, take_turns
from benchmarks.pictures import synthetic, write_mnist
from litnets.data import MNIST

STEPS = [f"step: {name} against a raw loop" for name in ("MLP 128", "MLP 1024", "CNN", "RNN")]


def measured(names, tmp_path, capsys):
    """Run benchmarks; the rows of the table (without head and foot) and what is in the JSON."""
    target = tmp_path / "folder" / "found.json"
    assert main(["--quick", "--only", names, "--data-dir", str(tmp_path / "nothing"), "--json", str(target)]) == 0
    head, *rows, foot = capsys.readouterr().out.splitlines()
    assert head.split() == ["figure", "asked", "found"]
    assert "synthetic" in foot
    found = json.loads(target.read_text())
    assert [figure["figure"] for figure in found["figures"]] == [row.split("  ")[0] for row in rows]
    assert all(figure["rounds"] for figure in found["figures"])
    assert found["environment"]["versions"]["torch"]
    return rows, found["figures"]


@pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:The '.*_dataloader' does not have many")
@pytest.mark.filterwarnings("ignore:It is recommended to use")
def test_the_table_and_the_json_say_the_same(tmp_path, capsys):
    rows, figures = measured("loader,step,growth,lengths", tmp_path, capsys)
    names = [figure["figure"] for figure in figures]
    assert [name for name in names if "raw loop" in name] == STEPS
    asked = {figure["figure"]: (figure["sense"], figure["asked"]) for figure in figures}
    assert asked["loader: speed against torchvision's road"] == ("least", 40)
    assert asked[STEPS[0]] == ("most", 1.4)
    for row, figure in zip(rows, figures, strict=True):
        assert row.endswith("!") == (figure["reached"] is False)


@pytest.mark.slow
def test_what_is_measured_in_processes_of_its_own(tmp_path, capsys):
    _, figures = measured("epoch,memory,start,processes", tmp_path, capsys)
    assert [figure["figure"].split(":")[0] for figure in figures] == ["epoch", "memory", "start", "processes"]


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--only", "step,spet"])
    assert ended.value.code == 2
    assert "no benchmark spet (there are: loader," in capsys.readouterr().err


def test_medians_of_interleaved_rounds_without_the_first():
    calls = []

    def run(name, values):
        calls.append(name)
        return values.pop(0)

    a, b = [100.0, 2.0, 4.0, 90.0], [100.0, 1.0, 1.0, 9.0]
    seconds = take_turns(3, a=lambda: run("a", a), b=lambda: run("b", b))
    assert calls == ["a", "b"] * 4
    ratios = divided(seconds["a"], seconds["b"])
    assert ratios == [2, 4, 10]
    assert Figure("", ratios).found == 4
    assert Figure("", ratios).reached is None
    assert [Figure("", ratios, asked).reached for asked in (3, 5)] == [True, False]
    assert [Figure("", ratios, asked, "most").reached for asked in (3, 5)] == [False, True]


def test_synthetic_pictures_are_read_as_mnist(tmp_path):
    write_mnist(tmp_path, 50, 20)
    data = MNIST(data_dir=str(tmp_path), val_size=10)
    data.setup()
    images, targets = synthetic(50)
    assert (data.splits["train"].inputs == images).all()
    assert (data.splits["train"].targets == targets).all()
    assert len(data.splits["test"]) == 20
