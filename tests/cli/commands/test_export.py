import sys
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.analysis.predictor import Predictor
from litnets.deploy.certificate import Certificate, Timing
from litnets.deploy.export import Export
from litnets.deploy.formats import Format
from tests.helpers.tiny_runs import write_run


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Format, Path | None]]:
    """Replace loading and exporting by a list of the exports that were asked for."""
    asked: list[tuple[Format, Path | None]] = []

    def export_network(predictor: Predictor, format: Format, folder: Path | None) -> Export:
        asked.append((format, folder))
        certificate = Certificate("the test split", samples=360, decisions=360, ties=1, largest_difference=2e-7)
        certificate.metric, certificate.network_metric, certificate.exported_metric = "accuracy", 0.975, 0.9722
        certificate.timings = [Timing(1, None, 0.2, 0.05, 4.0), Timing(16, 30, 2.0, 1.0, 2.0)]
        return Export(Path("there"), Path("there/model.onnx"), certificate)

    monkeypatch.setattr("litnets.deploy.export.export_network", export_network)
    monkeypatch.setattr(Predictor, "load", lambda *args, **options: None)
    return asked


def test_the_comparison_is_printed(exports: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a")
    assert main(["export", "pets", "--format", "pt2", "--output", "there"]) == 0
    assert exports == [("pt2", Path("there"))]
    printed, reported = capsys.readouterr()
    assert reported == f"litnets: pets: the newest run is {Path('checkpoints', 'pets', 'a')}\n"
    assert "360 samples of the test split" in printed
    assert "1 of 360 decisions differ, 1 of them ties up to rounding" in printed
    assert "accuracy 0.9750 for the network, 0.9722 exported" in printed
    assert "16 x 30" in printed


def test_the_checkpoint_is_chosen(exports: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run("a")
    loaded: list[Path | None] = []
    monkeypatch.setattr(Predictor, "load", lambda run, checkpoint, **options: loaded.append(checkpoint))
    for options in ([], ["--ckpt_path", "last"], ["--ckpt_path", "other.ckpt"]):
        assert main(["export", "pets", *options]) == 0
    assert loaded == [None, run.last, Path("other.ckpt")]


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ([], "export: the following arguments are required: RUN"),
        (["pets", "--format", "tflite"], "invalid choice: 'tflite'"),
        (["dogs"], "there is no folder"),
    ],
)
def test_bad_arguments_are_refused(args: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a")
    assert main(["export", *args]) == 2
    assert problem in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    assert "--format {onnx,pt2}" in capsys.readouterr().out


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it fails
    write_run("a")
    assert main(["export", "pets"]) == 2
    assert 'onnxruntime is not installed: pip install "litnets[export]"' in capsys.readouterr().err
