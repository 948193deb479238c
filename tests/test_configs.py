"""Every configuration in configs/, run as a user would, on tiny files in the real on-disk formats.

The configurations in `SHIPPED` must state a measured score. Any other file, such as your own, must only parse and run
with `--trainer.fast_dev_run true`; it needs no entry here.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

from litnets.__main__ import main
from litnets.data import ETTh1, ETTh2
from litnets.data.core.base import LINKED_ATTRIBUTES
from tests.conftest import CONFIGS, ROOT
from tests.helpers.tiny import write_mnist
from tests.helpers.tiny_images import write_cifar10
from tests.helpers.tiny_series import write_ett
from tests.helpers.tiny_sound import write_fsdd
from tests.helpers.tiny_text import tiny_names

SHIPPED = [
    CONFIGS / f"{name}.yaml"
    for name in (
        "breast_cancer_mlp",
        "cifar10_cnn",
        "cifar10_fast",
        "diabetes_mlp",
        "digits_cnn",
        "digits_mlp",
        "digits_rnn",
        "etth1_linear",
        "etth1_rnn",
        "fashion_mnist_cnn",
        "fashion_mnist_cnn_large",
        "fashion_mnist_mlp",
        "fashion_mnist_rnn",
        "iris_mlp",
        "mnist_cnn",
        "mnist_cnn_fast",
        "names_rnn",
        "shapes_unet",
        "spoken_digits_rnn",
        "wine_mlp",
        "xor_mlp",
    )
] + sorted(CONFIGS.glob("architectures/*.yaml"))
OTHERS = sorted(set(CONFIGS.glob("*.yaml")) - set(SHIPPED))
DOWNLOADED = ("CIFAR10", "ETTh1", "ETTh2", "FashionMNIST", "MNIST", "Names", "SpokenDigits")


@pytest.fixture
def tiny_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny version of every downloadable data set."""
    from torchvision import datasets

    folder = tmp_path / "tiny"
    # Large enough for each class to be in the validation split, which is 5% of some.
    for source in (datasets.MNIST, datasets.FashionMNIST):
        checksums = write_mnist(folder, source.__name__, train=240)
        monkeypatch.setattr(source, "resources", list(checksums.items()))
    write_cifar10(
        folder, monkeypatch, each=60, test=35
    )  # few test images, because some configurations test six views of each
    for series in (ETTh1, ETTh2):
        write_ett(folder, monkeypatch, series)
    write_fsdd(folder, recordings=15)
    tiny_names(folder, monkeypatch)
    return folder


def data_options(config: Path, tiny_data: Path) -> list[str]:
    """Return the options that make a configuration use the tiny data, if its data set is downloadable."""
    data = yaml.safe_load(config.read_text()).get("data")
    class_path = data["class_path"] if isinstance(data, dict) else str(data)
    return ["--data.data_dir", str(tiny_data)] if class_path.rpartition(".")[2] in DOWNLOADED else []


def metric(config: Path) -> str:
    """Return the name of the test metric that a configuration's header states."""
    return {"etth1": "mse", "diabetes": "r2", "shapes": "iou"}.get(config.stem.split("_")[0], "accuracy")


QUICK = {"digits_mlp", "digits_rnn", "iris_mlp", "diabetes_mlp", "etth1_linear"}


@pytest.mark.parametrize(
    "config",
    [pytest.param(config, marks=[pytest.mark.slow] * (config.stem not in QUICK)) for config in SHIPPED],
    ids=[config.stem for config in SHIPPED],
)
def test_fit_test_predict(config: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--trainer.max_epochs", "1", "--trainer.precision", "32-true"]
    assert main(["fit", "--config", str(config), *short, *data_options(config, tiny_data)]) == 0
    (run,) = Path("checkpoints", config.stem).iterdir()
    assert metric(config) in json.loads((run / "results.json").read_text())["test"]
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    assert len((run / "predictions.csv").read_text().splitlines()) > 30
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("config", SHIPPED, ids=lambda c: c.stem)
def test_header_states_command_score_and_time(config: Path) -> None:
    lines = config.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert 20 <= len(lines) <= 45
    assert any(f"litnets fit --config {config.relative_to(ROOT)}" in line for line in header)
    text = " ".join(line.removeprefix("# ") for line in header)
    assert re.search(rf"test {metric(config)} \d.*3 seeds", text) or "not measured yet" in text
    init_args = yaml.safe_load(config.read_text())["model"]["init_args"]
    assert not set(LINKED_ATTRIBUTES) & init_args.keys(), "sizes must come from the data, not from the configuration"


def assert_runs(config: Path, options: list[str]) -> None:
    """Parse a configuration and run one batch of each stage."""
    with pytest.raises(SystemExit) as parsed:
        main(["fit", "--config", str(config), "--print_config"])
    assert parsed.value.code == 0
    data = yaml.safe_load(config.read_text()).get("data")
    arguments = data.get("init_args", {}) if isinstance(data, dict) else {}
    for name in ("path", "root"):
        if name in arguments and "://" not in arguments[name] and not Path(arguments[name]).exists():
            pytest.skip(f"{config.name} parses; it was not run, because its data.{name} {arguments[name]} is not here")
    assert main(["fit", "--config", str(config), "--trainer.fast_dev_run", "true", *options]) == 0


@pytest.mark.parametrize("config", OTHERS, ids=lambda c: c.stem)
def test_other_configs_run(config: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # custom paths and modules are relative to the repository
    assert_runs(config, data_options(config, tiny_data))


def test_a_new_config_needs_no_header_and_no_score() -> None:
    config = Path("mine.yaml")
    config.write_text("model: {class_path: MLPClassifier, init_args: {hidden_layer_sizes: [8]}}\ndata: Digits\n")
    assert_runs(config, [])


def test_a_new_config_must_parse(capsys: pytest.CaptureFixture[str]) -> None:
    config = Path("mine.yaml")
    config.write_text("model: {class_path: MLPClassifier, init_args: {hidden_sizes: [8]}}\ndata: Digits\n")
    assert main(["fit", "--config", str(config), "--trainer.fast_dev_run", "true"]) == 2
    assert "hidden_sizes" in capsys.readouterr().err
