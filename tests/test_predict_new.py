"""`predict --data.predict_path`: new samples are processed as in training, whose files are no longer needed."""

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

from litnets import data, tasks
from litnets.__main__ import main
from litnets.data.audio.log_mel import LogMel
from litnets.errors import InputError
from tests.helpers.tiny import write_mnist
from tests.helpers.tiny_images import write_cifar10, write_image_folder
from tests.helpers.tiny_series import ETT_CHANNELS, waves, write_ett, write_series, write_series_folder
from tests.helpers.tiny_sound import tone, write_audio_folder, write_fsdd, write_wav
from tests.helpers.tiny_tables import HEADER, write_csv
from tests.helpers.tiny_text import rows, tiny_names, write_texts

# The networks are loaded without a run, so without its calibration.
FIT = ["--trainer.max_epochs", "1", "--runs_dir", "runs", "--trainer.enable_progress_bar", "false"]
FIT += ["--calibrate", "false"]


def fit(model: str, data: str, *options: str) -> Path:
    """Train on the files in `old`, delete them, and return the run."""
    assert main(["fit", "--model", model, "--data", data, *options, *FIT]) == 0
    shutil.rmtree("old", ignore_errors=True)  # data sets of scikit-learn have no files
    (run,) = Path("runs").glob("*/*")
    return run


def predict(run: Path, path: str = "new", *options: str) -> list[dict[str, str]]:
    args = ["--data.predict_path", path, "--overwrite", *options]
    assert main(["predict", str(run), *args]) == 0
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refused(run: Path, capsys: pytest.CaptureFixture[str], *options: str, path: str = "new") -> str:
    """Return the error message of a prediction that is refused; it has one or two lines."""
    capsys.readouterr()
    args = ["--data.predict_path", path, "--overwrite", *options]
    assert main(["predict", str(run), *args]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) <= 2
    return error


def load_network(run: Path, model: str, kind: str) -> tuple[Callable[..., Tensor], dict[str, Any], Any]:
    """Return the network of a run, the state of its DataModule, and its class names, without using a DataModule."""
    content = torch.load(run / "best.ckpt", weights_only=True)
    task = getattr(tasks, model)(**content["hyper_parameters"]).eval()
    task.load_state_dict(content["state_dict"])

    @torch.no_grad()
    def probabilities(*inputs: Tensor) -> Tensor:
        out: Tensor = task(inputs if len(inputs) > 1 else inputs[0])
        return out.softmax(1) if hasattr(task, "class_names") else out

    return probabilities, content[kind], getattr(task, "class_names", [])


def probabilities_in(predictions: list[dict[str, str]]) -> Tensor:
    """Return the probabilities in predictions.csv, `(rows, classes)`."""
    return torch.tensor([[float(v) for k, v in row.items() if k.startswith("probability_")] for row in predictions])


# Tables


TABLE = ["--data.path", "old/table.csv", "--data.ignore", "[red,round,price]", "--data.target", "bought"]


def table_run() -> Path:
    Path("old").mkdir()
    write_csv(Path("old/table.csv"))
    return fit("MLPClassifier", "TableCSV", *TABLE)


@pytest.mark.slow
def test_new_rows_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    run = table_run()
    # One additional column, another order, no target, missing numbers, a missing town and an unseen one.
    Path("new.csv").write_text("note,town,income,age\na,Rome,20000,30\nb,Paris,9e4,NA\nc,,5e4,\nd,Köln,1e5,\n")
    predictions = predict(run, "new.csv")
    assert "new.csv: column 'town': unseen in training, read as missing: 'Paris'" in capsys.readouterr().out
    network, state, names = load_network(run, "MLPClassifier", "TableCSV")
    assert state["columns"] == ["age", "income", "town"]
    median = state["median"][0]
    numbers = torch.tensor([[30, 2e4], [median, 9e4], [median, 5e4], [median, 1e5]])
    scaled = (numbers - torch.tensor(state["mean"])) / torch.tensor(state["std"])
    towns = torch.tensor(
        [[float(town == known) for known in state["categories"][0]] for town in ("Rome", 0, 0, "Köln")]
    )
    expected = network(torch.cat([scaled, towns], 1))
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)
    assert [row["prediction"] for row in predictions] == [names[i] for i in expected.argmax(1)]
    assert [row["index"] for row in predictions] == ["0", "1", "2", "3"]
    # A Parquet table in which a numeric column is missing in every row.
    pl.DataFrame({"age": [None], "income": [9e4], "town": ["Oslo"], "bought": ["no"]}).write_parquet("new.parquet")
    alone = network(torch.cat([scaled[1:2], torch.tensor([[0.0, 1.0, 0.0]])], 1))
    torch.testing.assert_close(probabilities_in(predict(run, "new.parquet")), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_invalid_new_tables_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run = table_run()
    for text, message in (
        ("age,town,wage\n1,Rome,2\n", "new: no column 'income' (columns: age, town, wage)"),
        (
            "age,town,income\n1,Rome,2\n3,Rome,much\n",
            "new: column 'income', row 2: expected a number as in training, got 'much'",
        ),
        ("age,town,income\n1,Rome,inf\n", "new: column 'income', row 1: expected a finite number, got infinity"),
        ("age,town,income\n", "new: expected at least one row, got only a header"),
        ("", "new: the file is empty"),
    ):
        Path("new").write_text(text)
        assert message in refused(run, capsys)
    assert "none.csv: cannot be read: No such file" in refused(run, capsys, path="none.csv")
    assert "runs: expected a file, got a folder" in refused(run, capsys, path="runs")
    assert not (run / "predictions.csv").exists()


def test_numbers_are_predicted_in_the_units_of_the_data() -> None:
    Path("old").mkdir()
    write_csv(Path("old/table.csv"))
    run = fit("MLPRegressor", "TableCSV", "--data.path", "old/table.csv", "--data.target", "price",
              "--data.ignore", "[town,bought,red,round]")  # fmt: skip
    Path("new.tsv").write_text("income\tage\n30000\t40\n60000\t20\n")
    network, state, _ = load_network(run, "MLPRegressor", "TableCSV")
    scaled = (torch.tensor([[40, 3e4], [20, 6e4]]) - torch.tensor(state["mean"])) / torch.tensor(state["std"])
    hyper = torch.load(run / "best.ckpt", weights_only=True)["hyper_parameters"]
    expected = network(scaled)[:, 0] * hyper["target_std"][0] + hyper["target_mean"][0]
    assert [float(row["prediction"]) for row in predict(run, "new.tsv")] == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "Iris",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("Diabetes", "Wine", "BreastCancer", "XOR", "Moons", "Spirals")
        ),
    ],
)
def test_rows_for_a_ready_made_table(name: str) -> None:
    table = getattr(data, name)().table
    model = "MLPRegressor" if table.class_names is None else "MLPClassifier"
    run = fit(model, name, "--data.normalize_skewed", "false")  # so that standardization is all that is computed below
    # One additional column, another order, and a missing number.
    columns = [*reversed(table.columns), "note"]
    values = table.inputs[[5, 70, 120]].flip(1).tolist()
    values[1][0] = "?"
    Path("new.csv").write_text(
        "\n".join(";".join(map(str, row)) for row in [columns, *([*row, "x"] for row in values)])
    )
    predictions = predict(run, "new.csv", "--data.separator", ";")
    network, state, names = load_network(run, model, name)
    raw = table.inputs[[5, 70, 120]]
    raw[1, -1] = state["median"][-1]
    out = network((raw - torch.tensor(state["mean"])) / torch.tensor(state["std"]))
    if names:
        torch.testing.assert_close(probabilities_in(predictions), out, rtol=1e-5, atol=1e-6)
        assert [row["prediction"] for row in predictions] == [names[i] for i in out.argmax(1)]
    else:
        hyper = torch.load(run / "best.ckpt", weights_only=True)["hyper_parameters"]
        expected = out[:, 0] * hyper["target_std"][0] + hyper["target_mean"][0]
        assert [float(row["prediction"]) for row in predictions] == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_checkpoint_of_other_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", "MLPClassifier", "--data", "Iris", *FIT]) == 0
    (best,) = Path("runs").glob("*/*/best.ckpt")
    write_csv(Path("table.csv"))
    capsys.readouterr()
    data = ["--data", "TableCSV", "--data.path", "table.csv", "--data.target", "bought"]
    options = ["--model", "MLPClassifier", *data, "--data.predict_path", "table.csv", "--ckpt_path", str(best)]
    assert main(["predict", *options]) == 2
    assert "best.ckpt was not trained on TableCSV" in capsys.readouterr().err


# Texts


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "folder", pytest.param("jsonl", marks=pytest.mark.slow)])
def test_new_texts(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_texts(Path("old/texts.csv"), rows())
    run = fit("RNNClassifier", "TextFiles", "--data.path", "old/texts.csv")
    texts = ["w1  good w2", "bad zebra", "so-so"]
    if kind == "folder":
        for name, text in zip(("b/1.txt", "b/2.txt", "z.txt"), texts, strict=True):
            Path("new", name).parent.mkdir(parents=True, exist_ok=True)
            Path("new", name).write_text(text)
        predictions = predict(run)
        assert [row["file"] for row in predictions] == ["b/1.txt", "b/2.txt", "z.txt"]
    else:
        content = {"csv": "id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts))}
        content["jsonl"] = "".join(f'{{"text": "{text}"}}\n' for text in texts)
        Path(f"new.{kind}").write_text(content[kind])
        predictions = predict(run, f"new.{kind}")
        assert "file" not in predictions[0]
    network, state, _ = load_network(run, "RNNClassifier", "TextFiles")
    tokens = state["vocabulary"]["tokens"]
    numbers = [[tokens.index(word) if word in tokens else 1 for word in text] for text in
               (["w1", "good", "w2"], ["bad", "zebra"], ["so", "-", "so"])]  # fmt: skip
    expected = torch.cat([network(torch.tensor([row]), torch.tensor([len(row)])) for row in numbers])
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)
    Path("new.csv").write_text("txt,label\nhello,a\n")
    assert "no column 'text'; did you mean 'txt'? (columns: txt, label)" in refused(run, capsys, path="new.csv")
    Path("new.csv").write_text('text\nhello\n" "\n')
    assert "new.csv, line 3: the text is empty" in refused(run, capsys, path="new.csv")
    Path("empty").mkdir()
    assert "empty contains no text (.txt)" in refused(run, capsys, path="empty")


@pytest.mark.slow
def test_new_names(monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit("RNNClassifier", "Names", "--data.data_dir", tiny_names(Path("old"), monkeypatch)["data_dir"])
    names = ["Caab", "b4", "Re\u0301mi d"]  # a combining accent, which normalization composes with its letter
    Path("new.txt").write_text(f"{names[0]}\n\n {names[1]}\n{names[2]}\n\n", encoding="utf-8")
    predictions = predict(run, "new.txt")
    assert [(row["index"], row["file"]) for row in predictions] == [(i, "new.txt") for i in "012"]
    network, state, languages = load_network(run, "RNNClassifier", "Names")
    tokens = state["vocabulary"]["tokens"]
    numbers = [[tokens.index(c) if c in tokens else 1 for c in name] for name in ("Caab", "b4", "R\u00e9mi d")]
    expected = torch.cat([network(torch.tensor([row]), torch.tensor([len(row)])) for row in numbers])
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)
    assert [row["prediction"] for row in predictions] == [languages[i] for i in expected.argmax(1)]
    # The same names in a folder of several files, and in a column of a table.
    Path("new/deep").mkdir(parents=True)
    Path("new/deep/a.txt").write_text(f"{names[0]}\r\n{names[1]}", encoding="utf-8")
    Path("new/z.txt").write_text(names[2], encoding="utf-8")
    predictions = predict(run)
    assert [row["file"] for row in predictions] == ["deep/a.txt", "deep/a.txt", "z.txt"]
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)
    Path("new.csv").write_text("\n".join(["surname,age", *(f"{name},1" for name in names)]), encoding="utf-8")
    predictions = predict(run, "new.csv", "--data.text_column", "surname")
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)


# Images and audio


@pytest.mark.slow
@pytest.mark.parametrize("budget", [2.0, pytest.param(0.0, marks=pytest.mark.slow)])
def test_new_images(budget: float, capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("old"), size=8)
    options = ["--data.root", "old", "--data.size", "8", "--data.memory_budget", str(budget)]
    run = fit("MLPClassifier", "ImageFolder", *options)
    pixels = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    Path("new/deep/er").mkdir(parents=True)
    names = ["a.png", "deep/er/z.png", "m.png"]  # in the order of their paths
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(Path("new", name))
    predictions = predict(run)
    assert [row["file"] for row in predictions] == names
    network, state, _ = load_network(run, "MLPClassifier", "ImageFolder")
    raw = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    expected = network((raw - torch.tensor(state["mean"]).view(3, 1, 1)) / torch.tensor(state["std"]).view(3, 1, 1))
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)
    assert [row["file"] for row in predict(run, "new/m.png")] == ["m.png"]
    Path("new/broken.png").write_bytes(b"no image")
    assert "new/broken.png: not an image, or a broken one" in refused(run, capsys)
    rest = predict(run, "new", "--data.skip_broken", "true")
    assert [row["file"] for row in rest] == names
    torch.testing.assert_close(probabilities_in(rest), expected, rtol=1e-5, atol=1e-6)
    assert "trained on inputs of shape (3, 8, 8)" in refused(run, capsys, "--data.size", "16", path="new/m.png")


@pytest.mark.parametrize(
    "name", ["MNIST", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Digits", "FashionMNIST", "CIFAR10"))]
)
@pytest.mark.slow
def test_new_images_for_a_ready_made_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "CIFAR10":
        write_cifar10(Path("old"), monkeypatch)
    elif name != "Digits":
        monkeypatch.setattr(getattr(datasets, name), "resources", list(write_mnist(Path("old"), name).items()))
    run = fit("MLPClassifier", name, *([] if name == "Digits" else ["--data.data_dir", "old"]))
    channels, height, width = getattr(data, name).input_shape
    # A gray image of the right size, and a larger one of uniform color.
    pixels = np.random.default_rng(5).integers(0, 256, (height, width), dtype=np.uint8)
    Path("new/deep").mkdir(parents=True)
    Image.fromarray(pixels).save("new/a.png")
    Image.fromarray(np.full((70, 50, 3), (255, 100, 0), np.uint8)).save("new/deep/b.PNG")
    predictions = predict(run)
    assert [row["file"] for row in predictions] == ["a.png", "deep/b.PNG"]
    color = torch.tensor([255, 100, 0] if channels == 3 else [0.299 * 255 + 0.587 * 100]).round()  # ITU-R 601
    raw = torch.empty(2, channels, height, width)
    raw[0], raw[1] = torch.from_numpy(pixels), color.view(-1, 1, 1)
    if name == "Digits":
        raw = (raw * 16 / 255).round()
    network, state, names = load_network(run, "MLPClassifier", name)
    expected = network((raw - torch.tensor(state["mean"]).view(-1, 1, 1)) / torch.tensor(state["std"]).view(-1, 1, 1))
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)
    assert [row["prediction"] for row in predictions] == [names[i] for i in expected.argmax(1)]
    torch.testing.assert_close(probabilities_in(predict(run, "new/deep/b.PNG")), expected[1:], rtol=1e-5, atol=1e-6)
    Path("new/broken.png").write_bytes(b"no image")
    assert [row["file"] for row in predict(run, "new", "--data.skip_broken", "true")] == ["a.png", "deep/b.PNG"]


@pytest.mark.slow
def test_new_spoken_digits(capsys: pytest.CaptureFixture[str]) -> None:
    write_fsdd(Path("old"))
    run = fit("RNNClassifier", "SpokenDigits", "--data.data_dir", "old", "--data.val_size", "20")
    waveforms = [tone(500, 700), tone(900, 400) // 9]
    write_wav(Path("new/b.wav"), waveforms[0])
    write_wav(Path("new/a/c.wav"), np.stack([waveforms[1]] * 2, 1))  # stereo
    predictions = predict(run)
    assert [row["file"] for row in predictions] == ["a/c.wav", "b.wav"]
    network, state, _ = load_network(run, "RNNClassifier", "SpokenDigits")
    log_mel = LogMel(8000, 40)
    expected = []
    for wave in reversed(waveforms):
        features, frames = log_mel(torch.from_numpy(wave).unsqueeze(0), torch.tensor([len(wave)]))
        features -= np.log(np.square(wave / 32768).mean())  # equal loudness
        expected.append(network((features - torch.tensor(state["mean"])) / torch.tensor(state["std"]), frames))
    torch.testing.assert_close(probabilities_in(predictions), torch.cat(expected), rtol=1e-4, atol=1e-5)
    assert "trained on inputs of shape (None, 40)" in refused(run, capsys, "--data.n_mels", "12")


@pytest.mark.slow
def test_new_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    write_audio_folder(Path("old"), size=8)
    sound = ["--data.sample_rate", "8000", "--data.n_mels", "12", "--data.equal_loudness", "false"]
    run = fit("RNNClassifier", "AudioFolder", "--data.root", "old", *sound)
    waveforms = [tone(500, 700), tone(900, 400)]
    write_wav(Path("new/one.wav"), waveforms[0])
    write_wav(Path("new/deep/two.wav"), waveforms[1])
    predictions = predict(run)
    assert [row["file"] for row in predictions] == ["deep/two.wav", "one.wav"]
    network, state, _ = load_network(run, "RNNClassifier", "AudioFolder")
    log_mel = LogMel(8000, 12)
    expected = []
    for wave in reversed(waveforms):
        features, frames = log_mel(torch.from_numpy(wave).unsqueeze(0), torch.tensor([len(wave)]))
        expected.append(network((features - torch.tensor(state["mean"])) / torch.tensor(state["std"]), frames))
    torch.testing.assert_close(probabilities_in(predictions), torch.cat(expected), rtol=1e-4, atol=1e-5)
    Path("new/silent.wav").write_bytes(b"")
    assert "new/silent.wav" in refused(run, capsys)
    assert "none cannot be read: No such file" in refused(run, capsys, path="none")


# Series


@pytest.mark.slow
def test_forecast_of_a_new_series(capsys: pytest.CaptureFixture[str]) -> None:
    write_series(Path("old/series.csv"), waves(120, 2), ("wind", "OT"))
    data = ["--data.path", "old/series.csv", "--data.look_back", "12", "--data.horizon", "3"]
    run = fit("MLPForecaster", "SeriesCSV", *data)
    values = 3 * waves(20, 3, seed=1)
    write_series(Path("new.csv"), values, ("OT", "other", "wind"))
    predictions = predict(run, "new.csv")
    network, state, _ = load_network(run, "MLPForecaster", "SeriesCSV")
    mean, std = torch.tensor(state["channel_mean"]), torch.tensor(state["channel_std"])
    window = torch.from_numpy(values[-12:, [2, 0]]).float()
    expected = network(((window - mean) / std).unsqueeze(0))[0] * std + mean
    assert list(predictions[0]) == ["index", "step", "time", "prediction_wind", "prediction_OT"]
    assert [row["time"] for row in predictions] == [f"2016-07-01 {hour}:00:00" for hour in (20, 21, 22)]
    assert [row["step"] for row in predictions] == ["1", "2", "3"]
    forecast = torch.tensor([[float(row["prediction_wind"]), float(row["prediction_OT"])] for row in predictions])
    torch.testing.assert_close(forecast, expected, rtol=1e-4, atol=1e-5)
    write_series(Path("short.csv"), values[:11], ("wind", "x", "OT"))
    assert "short.csv: a forecast needs 12 steps, but the file has 11" in refused(run, capsys, path="short.csv")
    write_series(Path("other.csv"), values, ("wind", "x", "OTs"))
    assert "no column 'OT'; did you mean 'OTs'" in refused(run, capsys, path="other.csv")
    error = refused(run, capsys, "--data.look_back", "6", path="new.csv")
    assert (
        "the checkpoint was trained on inputs of shape (12, 2), but these options of SeriesCSV produce (6, 2)" in error
    )
    error = refused(run, capsys, "--data.horizon", "4", path="new.csv")
    assert "horizon: the checkpoint forecasts 3 steps, got 4" in error


@pytest.mark.parametrize("name", ["ETTh1", pytest.param("ETTh2", marks=pytest.mark.slow)])
def test_forecast_of_a_new_ett_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ett(Path("old"), monkeypatch, getattr(data, name), ends=(120, 200, 280))
    size = ["--data.look_back", "24", "--data.horizon", "6"]
    run = fit("MLPForecaster", name, "--data.data_dir", "old", *size)
    values = 2 * waves(40, 7, seed=1)
    write_series(Path("new.csv"), values[:, ::-1], ETT_CHANNELS[::-1], "hour")
    predictions = predict(run, "new.csv")
    network, state, _ = load_network(run, "MLPForecaster", name)
    mean, std = torch.tensor(state["channel_mean"]), torch.tensor(state["channel_std"])
    window = torch.from_numpy(values[-24:]).float()
    expected = network(((window - mean) / std).unsqueeze(0))[0] * std + mean
    names = [f"prediction_{channel}" for channel in ETT_CHANNELS]
    assert list(predictions[0]) == ["index", "step", "time", *names]
    forecast = torch.tensor([[float(row[name]) for name in names] for row in predictions])
    torch.testing.assert_close(forecast, expected, rtol=1e-4, atol=1e-4)


def test_new_series_to_classify() -> None:
    write_series_folder(Path("old"))
    run = fit("RNNClassifier", "SeriesFolder", "--data.root", "old")
    series = [waves(6, 2), waves(9, 2, seed=1)]
    for name, values in zip(("a", "b"), series, strict=True):
        write_series(Path(f"new/{name}.csv"), values[:, ::-1], ("y", "x"), time=None)
    predictions = predict(run)
    assert [row["file"] for row in predictions] == ["a.csv", "b.csv"]
    network, state, _ = load_network(run, "RNNClassifier", "SeriesFolder")
    mean, std = torch.tensor(state["channel_mean"]), torch.tensor(state["channel_std"])
    scaled = [(torch.from_numpy(values).float() - mean) / std for values in series]
    expected = torch.cat([network(values.unsqueeze(0), torch.tensor([len(values)])) for values in scaled])
    torch.testing.assert_close(probabilities_in(predictions), expected, rtol=1e-5, atol=1e-6)


def test_the_test_split_is_predicted_without_predict_path() -> None:
    """A predict_path in the configuration of `fit` affects `predict` only."""
    write_csv(Path("table.csv"))
    Path("new.csv").write_text(HEADER + "\n40,Rome,1e4,?,?,?,?\n")
    data = [
        "--data",
        "TableCSV",
        "--data.path",
        "table.csv",
        "--data.target",
        "bought",
        "--data.predict_path",
        "new.csv",
    ]
    assert main(["fit", "--model", "MLPClassifier", *data, *FIT]) == 0
    (config,) = map(str, Path("runs").glob("*/*/config.yaml"))
    for options, expected in (([], 1), (["--data.predict_path", "null"], 12)):
        assert main(["predict", "--config", config, "--overwrite", *options]) == 0
        assert len((Path(config).parent / "predictions.csv").read_text().splitlines()) == 1 + expected
    assert main(["predict", "--config", config, "--trainer.fast_dev_run", "true"]) == 0
    assert len((Path(config).parent / "predictions.csv").read_text().splitlines()) == 1 + 12, (
        "a dry run wrote predictions.csv"
    )


# Invalid files, for every data set


STATISTICS = {"mean": [1.0], "std": [2.0]}
NAMES = {"vocabulary": {"kind": "characters", "tokens": ["[PAD]", "[UNK]", "a"]}, "class_names": ["Irish"]}
CHANNELS = {"channel_names": list(ETT_CHANNELS), "channel_mean": [0.0] * 7, "channel_std": [1.0] * 7}
WAV = b"RIFF\xff\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\xff\0\0\0\0\0"


@pytest.mark.parametrize(
    ("kinds", "state", "file", "content", "message"),
    [
        ("Digits MNIST FashionMNIST CIFAR10", STATISTICS, "new/a.png", b"no", "new/a.png: not an image"),
        ("Digits MNIST FashionMNIST CIFAR10", STATISTICS, "new.txt", b"no", "new.txt is not an image (.bmp,"),
        ("Digits MNIST FashionMNIST CIFAR10", STATISTICS, "new/a.txt", b"", "new contains no image ("),
        ("Digits MNIST FashionMNIST CIFAR10", STATISTICS, "", b"", "new cannot be read: No such file"),
        ("SpokenDigits", STATISTICS, "new/a.wav", WAV, "new/a.wav: truncated: it has 1 of 127 samples"),
        ("SpokenDigits", STATISTICS, "new/a.mp3", b"", "new contains no recording (.flac, .wav)"),
        ("SpokenDigits", STATISTICS, "", b"", "new cannot be read: No such file"),
        ("Names", NAMES, "new/a.txt", b" \n", "new/a.txt: the file is empty"),
        ("Names", NAMES, "new/a.txt", b"Ada\nJos\xe9", "new/a.txt, line 2: not UTF-8"),
        ("Names", NAMES, "new.csv", b"surname\nAda", "no column 'text' (columns: surname); set --data.text_column"),
        ("Names", NAMES, "new.doc", b"Ada", "new.doc is not a text (.txt)"),
        ("Names", NAMES, "", b"", "new cannot be read: No such file"),
        ("ETTh1 ETTh2", CHANNELS, "new.csv", b"date,OTs\n1,2", "no column 'HUFL' (columns: date, OTs)"),
        ("ETTh1 ETTh2", CHANNELS, "new.csv", b"", "new.csv: the file is empty"),
        ("ETTh1 ETTh2", CHANNELS, "new.csv", ("t," + ",".join(ETT_CHANNELS) + "\n1,2,3,4,5,6,7,8").encode(),
         "new.csv: a forecast needs 336 steps, but the file has 1"),
        ("ETTh1 ETTh2", CHANNELS, "", b"", "new: cannot be read: No such file"),
        ("Iris Wine BreastCancer Diabetes XOR", None, "new.csv", b"a,b\n1,2", "(columns: a, b)"),
        ("Iris Wine BreastCancer Diabetes XOR", None, "new.csv", b"a:b\n1:2", "; set --data.separator if"),
        ("Iris Wine BreastCancer Diabetes XOR", None, "new.csv", b"", "new.csv: the file is empty"),
        ("XOR", None, "new.csv", b"x,y\n1,2\n3,much", "column 'y', row 2: expected a number as in training"),
        ("Iris Wine BreastCancer Diabetes XOR", None, "", b"", "new: cannot be read: No such file"),
    ],
)  # fmt: skip
def test_invalid_new_files_are_refused(
    kinds: str, state: dict[str, Any] | None, file: str, content: bytes, message: str
) -> None:
    if file:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_bytes(content)
    for kind in kinds.split():
        module = getattr(data, kind)(predict_path="new" if file.startswith("new/") or not file else file)
        module.load_state_dict(state or fitted_state(getattr(data, kind)()))
        with pytest.raises(InputError, match=re.escape(message)):
            module.predict_dataloader()


def fitted_state(module: data.ArrayDataModule) -> dict[str, Any]:
    """Return the state that a checkpoint holds for a data set without files."""
    module.setup()
    return module.state_dict()
