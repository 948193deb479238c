"""Invalid data and options are reported in one or two lines before training, and leave no run folder.

The tests of each reader cover broken files; these tests cover the complete command.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from litnets.__main__ import main
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_series import waves, write_series, write_series_folder
from tests.helpers.tiny_sound import write_audio_folder
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts

QUICK = ["--trainer.max_epochs", "1", "--runs_dir", "runs", "--trainer.enable_progress_bar", "false"]

IMAGES = "MLPClassifier ImageFolder --data.root data --data.size 8"
ARRAYS = "MLPClassifier ImageArrays --data.root data"
SOUND = "RNNClassifier AudioFolder --data.root data"
TEXTS = "RNNClassifier TextFiles --data.path data.csv"
TABLE = "MLPClassifier TableCSV --data.path data.csv --data.target bought"
SERIES = "LinearForecaster SeriesCSV --data.path data.csv --data.look_back 12 --data.horizon 3"
FOLDER = "RNNClassifier SeriesFolder --data.root data"


def images() -> None:
    write_image_folder(Path("data"), size=8)


def floats() -> None:
    Path("data").mkdir()
    np.save("data/inputs.npy", np.zeros((20, 8, 8)))
    np.save("data/targets.npy", np.arange(20) % 2)


def sound() -> None:
    write_audio_folder(Path("data"), size=6)


def texts() -> None:
    write_texts(Path("data.csv"), rows())


def table() -> None:
    write_csv(Path("data.csv"))


def series() -> None:
    write_series(Path("data.csv"), waves(100, 2), "ab")


def text(content: str, path: str = "data.csv") -> Callable[[], None]:
    def write() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)

    return write


SMALL = "--data TableCSV --data.path data.csv --data.target y"
GOOD = "x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(30))
EMPTY_VAL = "the validation split is empty, but val/loss selects the best epoch; set --data.val_size"
NOT_CLASSES = "RNNRegressor predicts numbers, but the targets of the data are something else: use RNNClassifier"


@pytest.mark.parametrize(
    ("prepare", "command", "message"),
    [
        # Sizes of batches and splits
        (images, f"{IMAGES} --data.val_size 0", EMPTY_VAL),
        (texts, f"{TEXTS} --data.val_size 0", EMPTY_VAL),
        (table, f"{TABLE} --data.val_size 0", EMPTY_VAL),
        (text("text,label\n" + "hi,a\nho,b\n" * 20), TEXTS, "val_size: 0.2 of 2 groups rounds to none; samples that"),
        (images, f"{IMAGES} --data.batch_size 0", "batch_size: expected at least 1, got 0"),
        (images, f"{IMAGES} --data.eval_batch_size 0", "eval_batch_size: expected at least 1, got 0"),
        (images, f"{IMAGES} --data.num_workers -1", "num_workers: expected at least 0, got -1"),
        (images, f"{IMAGES} --data.drop_last true", "drop_last: the 14 training samples do not fill a batch of 128"),
        (
            floats,
            ARRAYS,
            "data/inputs.npy: expected uint8 values from 0 to 255, got float64; convert and save them again",
        ),
        (lambda: Path("data").mkdir(), ARRAYS, "data has neither inputs.npy nor train_inputs.npy; set --data.root"),
        # Audio
        (sound, f"{SOUND} --data.n_mels 0", "n_mels: expected at least 1, got 0"),
        (sound, f"{SOUND} --data.sample_rate 0", "sample_rate: expected at least 1, got 0"),
        # Texts
        (texts, f"{TEXTS} --data.label_column text", "label_column: 'text' is also the text column"),
        (
            texts,
            f"{TEXTS} --data.min_count 9999",
            "min_count: no token occurs 9999 times in the training texts; the most",
        ),
        (
            text("text,label\n", "data/test.csv"),
            "RNNClassifier TextFiles --data.path data",
            "data has test.csv, but nothing to train on; expected a folder or file named train",
        ),
        # Tables
        (table, f"{TABLE} --data.target [red,red]", "target: 'red' is listed twice; remove one"),
        (table, f"{TABLE} --data.ignore [bought]", "target: 'bought' is also listed in ignore"),
        (table, f"{TABLE} --data.target []", "target: expected at least one column, got none"),
        (table, f"{TABLE} --data.separator ;;", "separator: expected one character such as ';', got ';;'"),
        (table, f"{TABLE} --data.path {'a' * 300}", "File name too long"),
        (table, f"{TABLE} --seed_everything 4294967296", "seed_everything: expected 0 to 4294967295, got 4294967296"),
        (lambda: Path("data.csv").mkdir(), TABLE, "data.csv: expected a file, got a folder"),
        (text("x,y,x\n1,a,2\n"), f"MLPClassifier {SMALL}", "data.csv: two columns are named 'x'; rename one"),
        (text("y,x,z\na,1,2\nb,2\n"), f"MLPClassifier {SMALL}", "line 3: expected 3 cells as in the header, got 2"),
        (text(GOOD + "1,a,2\n"), f"MLPClassifier {SMALL}", "line 32: expected 2 cells as in the header, got 3"),
        (text(GOOD + '1,"a\n'), f"MLPClassifier {SMALL}", "line 32: not valid CSV: unexpected end of data"),
        (
            text(GOOD + "1e300,a\n"),
            f"MLPClassifier {SMALL}",
            "column 'x', row 31: expected a finite number, got 1e+300, which is too large",
        ),
        # Series
        (series, f"{SERIES} --data.channels [a,a]", "channels: 'a' is listed twice; remove one"),
        (lambda: Path("data.csv").mkdir(), SERIES, "data.csv: expected a file, got a folder"),
        (lambda: write_series(Path("data.csv"), np.ones((99, 2)), "ab"), SERIES, "all channels are constant (a, b)"),
        (text("t;a\n1;2\n2;3\n"), SERIES, "expected commas between the columns, got ';'"),
        (text(""), SERIES, "data.csv: the file is empty"),
        (
            lambda: write_series(Path("data.csv"), waves(99, 2), "ab", None),
            SERIES,
            "or set --data.time_column to the time column",
        ),
        (
            lambda: Path("data").touch(),
            FOLDER,
            "data is a file, not a folder; set --data.root to a folder that has a folder of CSV files per class",
        ),
        # Unsuitable models
        (texts, TEXTS.replace("RNNClassifier", "RNNRegressor"), NOT_CLASSES),
        (lambda: write_series_folder(Path("data")), FOLDER.replace("RNNClassifier", "RNNRegressor"), NOT_CLASSES),
        (images, IMAGES.replace("MLPClassifier", "CNNRegressor"), "use CNNClassifier for classes"),
        (
            images,
            IMAGES.replace("MLPClassifier", "RNNForecaster"),
            "use RNNClassifier for classes, RNNRegressor for numbers or UNetSegmenter for masks",
        ),
    ],
)
def test_invalid_data_and_options_are_refused_before_training(
    prepare: Callable[[], None], command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare()
    model, *options = command.split(" ")
    options = options if options[0].startswith("--") else ["--data", *options]
    assert main(["fit", "--model", model, *options, *QUICK]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 2
    assert not Path("runs").exists()


@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
def test_training_without_validation_split_monitors_a_training_metric() -> None:
    images()
    model, *options = IMAGES.split(" ")
    options = ["--model", model, "--data", *options, "--data.val_size", "0", "--monitor", "train/loss"]
    assert main(["fit", *options, *QUICK]) == 0
    (config,) = map(str, Path("runs").glob("*/*/config.yaml"))
    assert main(["validate", "--config", config]) == 2


@pytest.mark.slow
def test_without_test_split_test_and_predict_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    images()
    model, *options = IMAGES.split(" ")
    assert main(["fit", "--model", model, "--data", *options, "--data.test_size", "0", *QUICK]) == 0
    (config,) = map(str, Path("runs").glob("*/*/config.yaml"))
    for command in ("test", "predict"):
        capsys.readouterr()
        assert main([command, "--config", config]) == 2
        assert "the test split is empty; set --data.test_size" in capsys.readouterr().err
    assert main(["validate", "--config", config]) == 0
    assert main(["predict", "--config", config, "--data.predict_path", "data"]) == 0
