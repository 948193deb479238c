"""What a person can get wrong with files of their own: named in a line or two before training, nothing left behind.

What each reader says of a broken file is tested beside it; here is what only the whole command can get wrong.
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

IMAGES = "MLPClassifier ImageFolder --data.root own --data.size 8"
ARRAYS = "MLPClassifier ImageArrays --data.root own"
SOUND = "RNNClassifier AudioFolder --data.root own"
TEXTS = "RNNClassifier TextFiles --data.path own.csv"
TABLE = "MLPClassifier TableCSV --data.path own.csv --data.target bought"
SERIES = "LinearForecaster SeriesCSV --data.path own.csv --data.look_back 12 --data.horizon 3"
FOLDER = "RNNClassifier SeriesFolder --data.root own"


def images() -> None:
    write_image_folder(Path("own"), size=8)


def floats() -> None:
    Path("own").mkdir()
    np.save("own/inputs.npy", np.zeros((20, 8, 8)))
    np.save("own/targets.npy", np.arange(20) % 2)


def sound() -> None:
    write_audio_folder(Path("own"), size=6)


def texts() -> None:
    write_texts(Path("own.csv"), rows())


def table() -> None:
    write_csv(Path("own.csv"))


def series() -> None:
    write_series(Path("own.csv"), waves(100, 2), "ab")


def text(content: str, path: str = "own.csv") -> Callable[[], None]:
    def write() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)

    return write


SMALL = "--data TableCSV --data.path own.csv --data.target y"
GOOD = "x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(30))
EMPTY_VAL = "the validation split is empty, but val/accuracy selects the best epoch; set --data.val_size"
NOT_CLASSES = "RNNRegressor predicts numbers, but the targets of the data are something else: use RNNClassifier"


@pytest.mark.parametrize(
    ("prepare", "command", "message"),
    [
        # Sizes of batches and splits
        (images, f"{IMAGES} --data.val_size 0", EMPTY_VAL),
        (texts, f"{TEXTS} --data.val_size 0", EMPTY_VAL),
        (table, f"{TABLE} --data.val_size 0", EMPTY_VAL),
        (text("text,label\n" + "hi,a\nho,b\n" * 20), TEXTS, EMPTY_VAL),  # copies stay together
        (images, f"{IMAGES} --data.batch_size 0", "batch_size: expected at least 1, got 0"),
        (images, f"{IMAGES} --data.eval_batch_size 0", "eval_batch_size: expected at least 1, got 0"),
        (images, f"{IMAGES} --data.num_workers -1", "num_workers: expected at least 0, got -1"),
        (images, f"{IMAGES} --data.drop_last true", "drop_last: the 14 training samples do not fill a batch of 128"),
        (floats, ARRAYS, "own/inputs.npy: expected uint8, values from 0 to 255, got float64; scale and save them so"),
        (lambda: Path("own").mkdir(), ARRAYS, "own: neither inputs.npy nor train_inputs.npy in it; give --data.root"),
        # Sound
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
            text("text,label\n", "own/train.csv"),
            "RNNClassifier TextFiles --data.path own",
            "own contains train.csv, but a split needs both train and test",
        ),
        # Tables
        (table, f"{TABLE} --data.target [red,red]", "target: 'red' is named twice"),
        (table, f"{TABLE} --data.ignore [bought]", "target: 'bought' is named in ignore as well"),
        (table, f"{TABLE} --data.target []", "target: expected a column or several, got none"),
        (table, f"{TABLE} --data.separator ;;", "separator: expected one character such as ';', got ';;'"),
        (lambda: Path("own.csv").mkdir(), TABLE, "own.csv is a folder, not a file; give a CSV or a Parquet file"),
        (text("x,y,x\n1,a,2\n"), f"MLPClassifier {SMALL}", "own.csv: two columns are called 'x'"),
        (text("y,x,z\na,1,2\nb,2\n"), f"MLPClassifier {SMALL}", "line 3: expected 3 cells as in the header, got 2"),
        (text(GOOD + "1,a,2\n"), f"MLPClassifier {SMALL}", "line 32: expected 2 cells as in the header, got 3"),
        (text(GOOD + '1,"a\n'), f"MLPClassifier {SMALL}", "line 32: no CSV: unexpected end of data"),
        (text(GOOD + "1e300,a\n"), f"MLPClassifier {SMALL}", "column 'x', row 31: the value is 1e+300, too large"),
        # Series
        (series, f"{SERIES} --data.channels [a,a]", "channels: 'a' is listed twice; remove one"),
        (lambda: Path("own.csv").mkdir(), SERIES, "own.csv: expected a file, got a folder"),
        (lambda: write_series(Path("own.csv"), np.ones((99, 2)), "ab"), SERIES, "all channels are constant (a, b)"),
        (text("t;a\n1;2\n2;3\n"), SERIES, "expected commas between the columns, got ';'"),
        (text(""), SERIES, "own.csv: the file is empty"),
        (
            lambda: write_series(Path("own.csv"), waves(99, 2), "ab", None),
            SERIES,
            "or set --data.time_column to the time column",
        ),
        (
            lambda: Path("own").touch(),
            FOLDER,
            "own: not a folder; expected a folder with one subfolder of CSV files per class",
        ),
        # Networks that do not fit
        (texts, TEXTS.replace("RNNClassifier", "RNNRegressor"), NOT_CLASSES),
        (lambda: write_series_folder(Path("own")), FOLDER.replace("RNNClassifier", "RNNRegressor"), NOT_CLASSES),
        (images, IMAGES.replace("MLPClassifier", "CNNRegressor"), "use CNNClassifier for classes"),
        (
            images,
            IMAGES.replace("MLPClassifier", "RNNForecaster"),
            "use RNNClassifier for classes or RNNRegressor for numbers",
        ),
    ],
)
def test_it_is_said_before_training(
    prepare: Callable[[], None], command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare()
    model, *options = command.split(" ")
    options = options if options[0].startswith("--") else ["--data", *options]
    assert main(["fit", "--model", model, *options, *QUICK]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) <= 2
    assert not Path("runs").exists()


@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
def test_training_without_validation_watches_what_it_has() -> None:
    images()
    model, *options = IMAGES.split(" ")
    options = ["--model", model, "--data", *options, "--data.val_size", "0", "--monitor", "train/loss"]
    assert main(["fit", *options, *QUICK]) == 0
    (config,) = map(str, Path("runs").glob("*/*/config.yaml"))
    assert main(["validate", "--config", config]) == 2


def test_without_a_test_split_nothing_is_tested(capsys: pytest.CaptureFixture[str]) -> None:
    images()
    model, *options = IMAGES.split(" ")
    assert main(["fit", "--model", model, "--data", *options, "--data.test_size", "0", *QUICK]) == 0
    (config,) = map(str, Path("runs").glob("*/*/config.yaml"))
    for command in ("test", "predict"):
        capsys.readouterr()
        assert main([command, "--config", config]) == 2
        assert "the test split is empty; set --data.test_size" in capsys.readouterr().err
    assert main(["validate", "--config", config]) == 0
    assert main(["predict", "--config", config, "--data.predict_path", "own"]) == 0
