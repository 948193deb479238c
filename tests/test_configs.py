"""Every configuration in configs/, run as a user would, on tiny files in the real on-disk formats.

The configurations in `SHIPPED` must state a measured score. Any other file, such as your own, must only parse and run
with `--trainer.fast_dev_run true`; it needs no entry here.
"""

import csv
import io
import json
import re
import runpy
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn import datasets as sklearn_datasets

from litnets.__main__ import main
from litnets.data import ETTh1, ETTh2
from litnets.data.core.base import LINKED_ATTRIBUTES
from litnets.deploy import certificate
from litnets.runs.folder import Run
from tests.conftest import CONFIGS, ROOT
from tests.helpers.tiny import write_mnist
from tests.helpers.tiny_images import write_cifar10
from tests.helpers.tiny_series import ETT_CHANNELS, waves, write_ett, write_series
from tests.helpers.tiny_sound import tone, write_fsdd, write_wav
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


def data_set(config: Path) -> str:
    """Return the name of the DataModule of a configuration."""
    data = yaml.safe_load(config.read_text()).get("data")
    class_path = data["class_path"] if isinstance(data, dict) else str(data)
    return class_path.rpartition(".")[2]


def is_large(config: Path) -> bool:
    """Return whether the network of a configuration has millions of parameters, so that the tests use less of it."""
    return "TorchvisionClassifier" in config.read_text()


def data_options(config: Path, tiny_data: Path) -> list[str]:
    """Return the options that make a configuration use the tiny data, few generated samples, or small inputs."""
    name = data_set(config)
    if name == "Shapes":
        return ["--data.samples", "180", "--data.size", "32"]
    options = ["--data.data_dir", str(tiny_data)] if name in DOWNLOADED else []
    if is_large(config):
        options += ["--trainer.limit_train_batches", "1"]
        options += ["--model.image_size", "64"] if config != VGG16 else []
    return options


def metric(config: Path) -> str:
    """Return the name of the test metric that a configuration's header states."""
    return {"etth1": "mse", "diabetes": "r2", "shapes": "iou"}.get(config.stem.split("_")[0], "accuracy")


QUICK = [config for config in SHIPPED if config.stem in ("digits_mlp", "digits_rnn", "diabetes_mlp", "etth1_linear")]
VGG16 = CONFIGS / "architectures" / "vgg16.yaml"  # 134 million parameters, which take a minute in the other commands


def fit_test_predict(config: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> Run:
    """Train a configuration for one epoch, then test and predict with `--config`."""
    short = ["--trainer.max_epochs", "1", "--trainer.precision", "32-true"]
    assert main(["fit", "--config", str(config), *short, *options]) == 0
    (folder,) = Path("checkpoints", config.stem).iterdir()
    run = Run(folder)
    assert metric(config) in json.loads(run.results.read_text())["test"]
    assert main(["test", "--config", str(run.config)]) == 0
    assert main(["predict", "--config", str(run.config)]) == 0
    assert len((folder / "predictions.csv").read_text().splitlines()) > 30
    assert capsys.readouterr().err == ""
    return run


@pytest.mark.parametrize("config", [*QUICK, pytest.param(VGG16, marks=pytest.mark.slow)], ids=lambda c: c.stem)
def test_fit_test_predict(config: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_test_predict(config, data_options(config, tiny_data), capsys)


@pytest.mark.slow
@pytest.mark.parametrize("config", [config for config in SHIPPED if config != VGG16], ids=lambda c: c.stem)
def test_every_command(
    config: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("captum", "onnxscript"):
        pytest.importorskip(package, reason="needs the extras explain and export")
    run = fit_test_predict(config, data_options(config, tiny_data), capsys)
    folder, new = str(run.folder), str(new_input(data_set(config)))
    assert main(["predict", folder, new, "--output", "masks" if config.stem == "shapes_unet" else "-"]) == 0
    predicted = capsys.readouterr().out
    quick = ["--method", "saliency"] if is_large(config) else []
    assert main(["explain", folder, "--samples", "1", "--repeats", "2", *quick]) == 0
    assert json.loads((run.explanation / "explain.json").read_text())["explanations"]
    assert main(["report", folder]) == 0
    page = run.report.read_text(encoding="utf-8")
    assert ">Explanations</a>" in page
    assert len(page) < 5e6
    assert main(["compare", folder, str(with_another_rate(run)), "--output", "compared.json"]) == 0
    (comparison,) = json.loads(Path("compared.json").read_text())["comparisons"]
    assert (comparison["of"], comparison["difference"]) == ("networks", 0)
    monkeypatch.setattr(certificate, "SECONDS_PER_BATCH_SIZE", 0.0)
    assert main(["export", folder]) == 0
    certified = json.loads((run.export / "certificate.json").read_text())
    assert (certified["passed"], certified["flips"]) == (True, 0)
    capsys.readouterr()
    assert run_alone(run, ["--selftest"], monkeypatch, capsys) == "selftest passed: 16 samples"
    assert_same_answers(run_alone(run, [new], monkeypatch, capsys), predicted)


def new_input(name: str) -> Path:
    """Write a file with one input of the kind that a DataModule reads."""
    if name == "Names":
        Path("new.txt").write_text("Müller\n", encoding="utf-8")
        return Path("new.txt")
    if name == "SpokenDigits":
        write_wav(Path("new.wav"), tone(900, 900))
        return Path("new.wav")
    table = Path("new.csv")
    if name == "ETTh1":
        write_series(table, waves(400, len(ETT_CHANNELS)), ETT_CHANNELS)
        return table
    if name == "XOR":
        table.write_text("x,y\n0.1,-0.2\n")
        return table
    loaders = {"BreastCancer": "breast_cancer", "Diabetes": "diabetes", "Iris": "iris", "Wine": "wine"}
    if name in loaders:
        getattr(sklearn_datasets, f"load_{loaders[name]}")(as_frame=True).data.head(1).to_csv(table, index=False)
        return table
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save("new.png")
    return Path("new.png")


def with_another_rate(run: Run) -> Path:
    """Return a copy of a run whose configuration has another learning rate."""
    folder = run.folder.with_name("another")
    shutil.copytree(run.folder, folder)
    text, count = re.subn(r"(?m)^    lr: .*$", "    lr: 0.123", run.config.read_text())
    assert count == 1
    (folder / run.config.name).write_text(text)
    return folder


def run_alone(run: Run, args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the program beside an export, and return what it prints."""
    program = run.export / "run.py"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [str(program), *args])
        patch.syspath_prepend(program.parent)
        for module in ("reading", "tiles"):
            patch.delitem(sys.modules, module, raising=False)
        with suppress(SystemExit):  # at the end of a self-test, after it has printed its result
            runpy.run_path(str(program), run_name="__main__")
    return capsys.readouterr().out.strip()


def assert_same_answers(printed: str, predicted: str) -> None:
    """Compare the line that an exported network prints with what `predict` wrote."""
    answer = printed.split("\t")[1]
    if not predicted.startswith("index"):  # masks
        with Image.open("masks/masks/new.png") as expected, Image.open(answer) as mask:
            assert np.mean(np.asarray(mask) == np.asarray(expected)) > 0.999
        return
    rows = list(csv.DictReader(io.StringIO(predicted)))
    columns = [name for name in rows[0] if name.startswith("prediction")]
    if "probability" in rows[0]:
        assert answer.split(" (")[0] == rows[0]["prediction"]
        return
    values = [[float(row[name]) for name in columns] for row in rows]
    np.testing.assert_allclose(np.reshape(json.loads(answer), np.shape(values)), values, rtol=1e-3, atol=1e-3)


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
