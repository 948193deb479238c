"""Every shipped configuration, run as a person would, on tiny files in the real on-disk formats."""

import json
import re
from pathlib import Path

import pytest
import yaml

from litnets.__main__ import main
from litnets.cli.app import LINKED_ATTRIBUTES
from tests.conftest import CONFIGS
from tests.helpers.tiny import write_mnist
from tests.helpers.tiny_images import write_cifar10
from tests.helpers.tiny_series import write_ett
from tests.helpers.tiny_sound import write_fsdd
from tests.helpers.tiny_text import tiny_names

ALL = sorted(CONFIGS.glob("*.yaml"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that point a configuration at tiny data."""
    from torchvision import datasets

    # Large enough for each class to be in the validation split, which is 5 % of some.
    for source in (datasets.MNIST, datasets.FashionMNIST):
        checksums = write_mnist(tmp_path / "tiny", source.__name__, train=240)
        monkeypatch.setattr(source, "resources", list(checksums.items()))
    write_cifar10(tmp_path / "tiny", monkeypatch, each=60, test=35)  # few to be tested: each has six views
    write_ett(tmp_path / "tiny", monkeypatch)
    write_fsdd(tmp_path / "tiny", recordings=15)
    tiny_names(tmp_path / "tiny", monkeypatch)
    return ["--data.data_dir", str(tmp_path / "tiny")]


def metric(config: Path) -> str:
    """What a configuration's header states."""
    return {"etth1": "mse", "diabetes": "r2"}.get(config.stem.split("_")[0], "accuracy")


def test_there_are_some() -> None:
    assert {f"{d}_{n}" for d in ("digits", "fashion_mnist") for n in ("mlp", "cnn", "rnn")} <= {c.stem for c in ALL}


@pytest.mark.parametrize("config", ALL, ids=lambda c: c.stem)
def test_fit_test_predict(config: Path, data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    inside = ("digits", "iris", "wine", "breast_cancer", "diabetes", "xor")  # in scikit-learn, or made
    options = [] if config.stem.startswith(inside) else data
    assert (
        main(["fit", "--config", str(config), "--trainer.max_epochs", "1", "--trainer.precision", "32-true", *options])
        == 0
    )
    (run,) = Path("checkpoints", config.stem).iterdir()
    assert metric(config) in json.loads((run / "results.json").read_text())["test"]
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    assert len((run / "predictions.csv").read_text().splitlines()) > 30
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("config", ALL, ids=lambda c: c.stem)
def test_is_one_experiment_with_its_header(config: Path) -> None:
    lines = config.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert 20 <= len(lines) <= 45
    assert any(f"litnets fit --config configs/{config.name}" in line for line in header)
    text = " ".join(header)
    assert re.search(rf"test {metric(config)} \d.*3 seeds", text) or "not measured yet" in text
    init_args = yaml.safe_load(config.read_text())["model"]["init_args"]
    assert not set(LINKED_ATTRIBUTES) & init_args.keys(), "sizes come from the data"
