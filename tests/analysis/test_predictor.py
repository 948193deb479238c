"""`litnets.load`: the predictions of `litnets predict`, from raw inputs in memory or in files."""

import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from scipy.special import softmax
from torch import Tensor, nn

import litnets
from litnets.__main__ import main
from litnets.analysis.calibrated_run import Calibration
from litnets.analysis.predictor import Predictor
from litnets.data import AudioFolder, Digits, ImageFolder, Iris, SeriesCSV, SeriesFolder, TableCSV, TextFiles
from litnets.data.core.base import LINKED_ATTRIBUTES, ArrayDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.tasks import MLPClassifier
from litnets.training import predictions
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_series import waves, write_series, write_series_folder
from tests.helpers.tiny_sound import write_audio_folder
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def images() -> tuple[ArrayDataModule, str, Any]:
    write_image_folder(Path("old"), size=6)
    shutil.copytree("old", "new")
    return ImageFolder("old", size=12), "CNNClassifier", "new"


def texts() -> tuple[ArrayDataModule, str, Any]:
    write_texts(Path("old.csv"), rows(60))
    write_texts(Path("new.csv"), rows(20))
    return TextFiles("old.csv"), "RNNClassifier", [text for text, _ in rows(20)]


def table() -> tuple[ArrayDataModule, str, Any]:
    write_csv(Path("old.csv"))
    write_csv(Path("new.csv"))
    return TableCSV("old.csv", "price", ignore=["bought"]), "MLPRegressor", pl.read_csv("new.csv", null_values="NA")


def recordings() -> tuple[ArrayDataModule, str, Any]:
    write_audio_folder(Path("old"), size=5)
    shutil.copytree("old", "new")
    return AudioFolder("old", sample_rate=8000), "RNNClassifier", sorted(Path("new").rglob("*.wav"))


def gestures() -> tuple[ArrayDataModule, str, Any]:
    series = write_series_folder(Path("old"), each=5)
    shutil.copytree("old", "new")
    return SeriesFolder("old"), "CNN1dClassifier", [values for values, _ in series]


def forecast() -> tuple[ArrayDataModule, str, Any]:
    write_series(Path("old.csv"), waves(90, 2), "ab")
    write_series(Path("new.csv"), waves(20, 2), "ab")
    return SeriesCSV("old.csv", look_back=12, horizon=4), "LinearForecaster", waves(20, 2)


MODALITIES = (images, texts, table, recordings, gestures, forecast)


def model_for(data: ArrayDataModule, name: str, **arguments: Any) -> LightningModule:
    """Return a model with the attributes of the data, as the command line links them."""
    cls = getattr(litnets, name)
    accepted = {parameter for base in cls.mro() for parameter in inspect.signature(base.__init__).parameters}
    linked = {name: getattr(data, name) for name in LINKED_ATTRIBUTES if name in accepted and hasattr(data, name)}
    model: LightningModule = cls(**linked, **arguments)
    return model


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
@pytest.mark.parametrize("modality", MODALITIES)
def test_predictions_equal_those_of_the_trainer_bit_for_bit(modality: Any) -> None:
    data, model_name, inputs = modality()
    data.ensure_setup()
    model = model_for(data, model_name)
    state = data.state_dict()
    new = "new" if Path("new").exists() else "new.csv"
    data.splits, data.predict_path, data.eval_batch_size = {}, Path(new), 8  # several batches, and a smaller last one
    data.load_state_dict(state)
    batches: Any = Trainer(**QUIET).predict(model, datamodule=data)
    expected = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    predictor = Predictor(model, data, device="cpu")
    found = predictor.predict(inputs)
    if predictor.classes is None:
        assert np.array_equal(found, expected["prediction"].numpy())
        with pytest.raises(InputError, match="does not predict classes; use predict"):
            predictor.predict_proba(inputs)
    else:
        assert found.tolist() == [predictor.classes[i] for i in expected["prediction"].tolist()]
        assert np.array_equal(predictor.predict_proba(inputs), expected["probability"].numpy())


@pytest.fixture
def digits() -> Predictor:
    data = Digits()
    data.ensure_setup()
    return Predictor(model_for(data, "MLPClassifier"), data, device="cpu")


def test_a_single_input_gives_an_array_with_one_entry(digits: Predictor) -> None:
    images = digits.datamodule.splits["test"][:5][0]
    assert digits.predict(images[0]).shape == (1,)
    together = digits.predict_proba(images)
    assert together.shape == (5, 10)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.concatenate([digits.predict_proba(image) for image in images]), together, rtol=1e-5)
    np.testing.assert_allclose(digits.predict_proba(images, batch_size=2), together, rtol=1e-5)


def test_prepare_and_network_compute_with_tensors_alone(digits: Predictor) -> None:
    images = digits.datamodule.splits["test"][:3][0]
    assert digits.datamodule.trainer is None
    with torch.no_grad():
        logits = digits.network(digits.prepare(images))
    assert torch.equal(logits.softmax(1), torch.from_numpy(digits.predict_proba(images)))
    assert not digits.network.training


def test_wrong_inputs_are_refused(digits: Predictor) -> None:
    for inputs, message in (([], "expected at least one input, got none"), (np.zeros((3, 3), np.uint8), r"\(3, 3\)")):
        with pytest.raises(InputError, match=message):
            digits.predict(inputs)
    with pytest.raises(InputError, match="batch_size: expected at least 1, got 0"):
        digits.predict(np.zeros((8, 8), np.uint8), batch_size=0)


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true", "16-mixed"])
def test_predictions_have_the_precision_of_the_training(precision: Any) -> None:
    data = Digits(eval_batch_size=50)
    data.ensure_setup()
    model = model_for(data, "MLPClassifier")
    found = Predictor(model, data, precision=precision, device="cpu").predict_proba(data.splits["test"][:][0])
    if precision == "16-mixed":  # Lightning warns that it uses bfloat16 on a CPU
        precision = "bf16-mixed"
    batches: Any = Trainer(precision=precision, **QUIET).predict(model, datamodule=data)
    assert np.array_equal(found, torch.cat([batch["probability"] for batch in batches]).numpy())


def test_prediction_sets(digits: Predictor) -> None:
    images = digits.datamodule.splits["test"][:50][0]
    with pytest.raises(InputError, match=r"^predict_set: this network has no prediction sets.*`litnets test RUN`"):
        digits.predict_set(images)
    plain, predicted = digits.predict_proba(images), digits.predict(images)
    Calibration("", samples=9, coverage=0.9, temperature=2.0, set_threshold=0.1).apply(digits.network)
    calibrated, sets = digits.predict_proba(images), digits.predict_set(images)
    assert digits.predict(images).tolist() == predicted.tolist()
    np.testing.assert_allclose(calibrated, softmax(np.log(plain) / 2, axis=1), rtol=1e-5)
    assert (sets[calibrated >= 0.1]).all()
    assert sets.sum() == (calibrated >= 0.1).sum() + (calibrated.max(1) < 0.1).sum()
    with pytest.raises(InputError, match=r"^predict_interval: this network has no prediction intervals"):
        digits.predict_interval(images)


def test_prediction_intervals() -> None:
    data, model_name, inputs = forecast()
    data.ensure_setup()
    predictor = Predictor(model_for(data, model_name), data, device="cpu")
    half_widths = np.arange(8.0).reshape(4, 2)
    Calibration("", samples=9, coverage=0.9, half_widths=half_widths.tolist()).apply(predictor.network)
    intervals = predictor.predict_interval(inputs)
    assert intervals.shape == (1, 2, 4, 2)
    np.testing.assert_allclose(intervals[0, 1] - intervals[0, 0], 2 * half_widths, atol=1e-5)
    np.testing.assert_allclose(intervals.mean(1), predictor.predict(inputs), atol=1e-5)


class Shifted(ArrayDataModule):
    input_shape, num_classes = (3,), 2

    def load(self) -> Any:
        raise AssertionError

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        return ArrayDataset(torch.tensor(inputs), torch.zeros(len(inputs)))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] + 1, batch[1]


def test_a_preparation_that_is_not_a_module_is_refused() -> None:
    with pytest.raises(InputError, match=r"in on_after_batch_transfer; also define `preparation`"):
        Predictor(MLPClassifier([3], num_classes=2), Shifted())


class AddOne(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + 1


class Prepared(Shifted):
    def preparation(self) -> nn.Module:
        return AddOne()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.preparation()(batch[0]), batch[1]


class Sum(LightningModule):
    """A third-party module, whose predict_step returns a tensor."""

    def forward(self, batch: Any) -> Tensor:
        inputs: Tensor = batch[0]
        return inputs.sum(1)


def test_a_foreign_module_predicts_what_its_predict_step_returns() -> None:
    assert Predictor(Sum(), Prepared(), device="cpu").predict([[1.0, 2.0], [3.0, 4.0]]).tolist() == [5.0, 9.0]


# litnets.load


FIT = ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--experiment", "x"]


@pytest.fixture
def run() -> Run:
    """A run on Iris."""
    assert main(["fit", "--model", "MLPClassifier", "--data", "Iris", *FIT]) == 0
    (folder,) = Path("checkpoints/x").iterdir()
    return Run(folder)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_load_accepts_folders_experiments_and_checkpoints(run: Run) -> None:
    rows = [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 2.0]]
    expected = litnets.load(run).predict_proba(rows)
    for source in (str(run.folder), run.folder, "x", "checkpoints/x", run.best, run.last, run.config):
        assert litnets.load(source).predict_proba(rows) == pytest.approx(expected), source
    net = litnets.load(run)
    assert net.classes == ["setosa", "versicolor", "virginica"]
    assert net.run is not None
    assert net.run.folder == run.folder
    assert set(net.predict(rows)) <= set(net.classes)
    assert isinstance(net.datamodule, Iris)
    assert not net.datamodule.splits
    for source, message in (("none", "there is no folder none"), ("none.ckpt", "checkpoint none.ckpt: no such file")):
        with pytest.raises(InputError, match=message):
            litnets.load(source)
    shutil.copy(run.best, "alone.ckpt")
    with pytest.raises(InputError, match=r"alone\.ckpt is not in a run folder"):
        litnets.load("alone.ckpt")
    run.best.unlink()
    with pytest.raises(InputError, match=r"best.ckpt \(a run that has just started has not saved one yet\)"):
        litnets.load(run)


@pytest.mark.slow
def test_commands_python_and_the_record_agree_on_calibrated_predictions(run: Run) -> None:
    temperature = run.read_results()["calibration"]["temperature"]
    assert temperature != 1
    frame = RecordedPredictions.load(run.recorded_predictions("test")).frame
    net = litnets.load(run)
    iris = Iris()
    rows = iris.read().inputs[[int(row) - 1 for row in frame["row"]]].numpy()
    probabilities, sets = net.predict_proba(rows), net.predict_set(rows)
    assert main(["predict", str(run.folder)]) == 0
    written = pl.read_csv(run.predictions)
    for record in (frame, written):
        np.testing.assert_allclose(record["probability"], probabilities.max(1), rtol=1e-5)
        assert record["set"].to_list() == ["|".join(np.array(net.classes)[one]) for one in sets]
    np.testing.assert_allclose(written.select("^probability_.*$").to_numpy(), probabilities, rtol=1e-5)
    content = torch.load(run.last, weights_only=True)
    content["state_dict"] = {name: 2 * weight for name, weight in content["state_dict"].items()}
    torch.save(content, run.last)
    assert litnets.load(run.last).network.temperature == 1
    for options in (["--ckpt_path", "last"], ["--calibrate", "false"]):
        assert main(["predict", str(run.folder), "--overwrite", *options]) == 0
        assert "set" not in pl.read_csv(run.predictions).columns


def test_a_run_may_not_name_other_code(run: Run) -> None:
    """A run folder may come from somebody else. Nothing is imported that the caller does not trust."""
    Path("mine.py").write_text("from litnets import Iris\nclass Mine(Iris): pass\n")
    rewrite(run.config, "litnets.Iris", "mine.Mine")
    with pytest.raises(InputError, match=r'names the class mine.Mine.*trust=\["mine"\]'):
        litnets.load(run)
    rewrite(run.config, "mine.Mine", "subprocess.Popen")
    with pytest.raises(InputError, match=r"subprocess\.Popen is another kind of class"):
        litnets.load(run)
    rewrite(run.config, "subprocess.Popen", "litnets.Iris")
    rewrite(run.config, "separator: null", "separator: {class_path: litnets.Iris}")
    with pytest.raises(InputError, match=r"data.separator names a class; construct the DataModule and pass it"):
        litnets.load(run)
    assert litnets.load(run, datamodule=Iris()).predict([[5.1, 3.5, 1.4, 0.2]]).shape == (1,)
    run.config.write_text("model: 3")
    with pytest.raises(InputError, match=r"expected model\.class_path"):
        litnets.load(run)
    run.config.unlink()
    with pytest.raises(InputError, match=r"has no config\.yaml"):
        litnets.load(run)


@pytest.mark.slow
@pytest.mark.parametrize("modality", MODALITIES)
def test_predictions_equal_those_of_the_command_line_bit_for_bit(
    modality: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model, inputs = modality()
    options = {
        "ImageFolder": ["--data.root", "old", "--data.size", "12", "--data.augment", "[{class_path: RandomShift}]"],
        "TextFiles": ["--data.path", "old.csv"],
        "TableCSV": ["--data.path", "old.csv", "--data.target", "price", "--data.ignore", "[bought]"],
        "AudioFolder": ["--data.root", "old", "--data.sample_rate", "8000"],
        "SeriesFolder": ["--data.root", "old"],
        "SeriesCSV": ["--data.path", "old.csv", "--data.look_back", "12", "--data.horizon", "4"],
    }[type(data).__name__]
    options += ["--trainer.precision", "bf16-mixed", "--data.eval_batch_size", "8"]
    assert main(["fit", "--model", model, "--data", type(data).__name__, *options, *FIT]) == 0
    (folder,) = Path("checkpoints/x").iterdir()
    for path in Path().glob("old*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    written: list[Any] = []
    table = predictions.table
    monkeypatch.setattr(
        predictions, "table", lambda parts, *args, **names: written.append(parts) or table(parts, *args, **names)
    )
    new = "new" if Path("new").exists() else "new.csv"
    assert main(["predict", "--config", str(folder / "config.yaml"), "--data.predict_path", new]) == 0
    ((_, expected),) = written[0]
    net = litnets.load(folder)
    if net.classes is None:
        assert np.array_equal(net.predict(inputs), expected["prediction"].numpy())
    else:
        assert np.array_equal(net.predict_proba(inputs), expected["probability"].numpy())
    if "set" in expected:
        assert np.array_equal(net.predict_set(inputs), expected["set"].numpy())
    if "lower" in expected:
        assert np.array_equal(net.predict_interval(inputs)[:, 0], expected["lower"].numpy())


def test_loading_does_not_depend_on_the_caller(run: Run) -> None:
    """The first of two calls leaves nothing behind that changes the second."""
    before = torch.random.get_rng_state()
    first, second = litnets.load(run), litnets.load(run)
    assert first.network is not second.network
    weights = zip(first.network.parameters(), second.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
    assert torch.equal(torch.random.get_rng_state(), before)
