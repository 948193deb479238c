"""Files that would run code, hang, or exhaust memory if a loader trusted them; streamed ones are in test_stream_format.

Each attack goes through `litnets fit` as a user's data set would, and has to end within the limit, with one line.
"""

import faulthandler
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.data import AudioFolder, ImageArrays, ImageFolder, SeriesFolder, TableCSV, TextFiles
from litnets.data.core import listing
from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from tests.helpers.tiny_images import write_image_arrays, write_image_folder
from tests.helpers.tiny_series import waves, write_series, write_series_folder
from tests.helpers.tiny_sound import write_audio_folder, write_fsdd
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts

LIMIT = 120  # seconds; each test takes less than one, but reading a FIFO would block forever

QUICK = ["--trainer.max_epochs", "1", "--runs_dir", "runs", "--trainer.enable_progress_bar", "false"]

IMAGES = "MLPClassifier ImageFolder --data.root own --data.size 8"
ARRAYS = "MLPClassifier ImageArrays --data.root own"
SOUND = "RNNClassifier AudioFolder --data.root own"
DIGITS = "RNNClassifier SpokenDigits --data.data_dir own"
TEXTS = "RNNClassifier TextFiles --data.path own.csv"
TEXT_FOLDER = "RNNClassifier TextFiles --data.path own"
TABLE = "MLPClassifier TableCSV --data.path own.csv --data.target bought"
PARQUET = "MLPClassifier TableCSV --data.path own.parquet --data.target bought"
SERIES = "LinearForecaster SeriesCSV --data.path own.csv --data.look_back 12 --data.horizon 3"
SERIES_FOLDER = "RNNClassifier SeriesFolder --data.root own"


@pytest.fixture(autouse=True)
def _hard_limit() -> Iterator[None]:
    """Kill the process if a test hangs in any thread."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def fit(command: str, *further: str) -> int:
    model, data, *options = command.split()
    return main(["fit", "--model", model, "--data", data, *options, *QUICK, *further])


def images() -> None:
    write_image_folder(Path("own"), size=6)


def arrays() -> None:
    write_image_arrays(Path("own"))


def sound() -> None:
    write_audio_folder(Path("own"), size=6)


def digits() -> None:
    write_fsdd(Path("own"))


def texts() -> None:
    write_texts(Path("own.csv"), rows())


def text_folder() -> None:
    write_texts(Path("own"), rows(60))


def table() -> None:
    write_csv(Path("own.csv"))


def series() -> None:
    write_series(Path("own.csv"), waves(100, 2), "ab")


def series_folder() -> None:
    write_series_folder(Path("own"))


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


SPECIAL = pytest.mark.parametrize("make", [fifo, unix_socket, device])


# Special files


@pytest.mark.slow
@SPECIAL
@pytest.mark.parametrize(
    ("prepare", "command", "path"),
    [
        (images, IMAGES, "own/cat/0.png"),
        (sound, SOUND, "own/low/0.wav"),
        (sound, SOUND, "own/low/0.flac"),
        (digits, DIGITS, "own/fsdd/recordings/0_theo_99.wav"),
        (text_folder, TEXT_FOLDER, "own/a/0.txt"),
        (series_folder, SERIES_FOLDER, "own/fast/0.csv"),
    ],
)
def test_special_files_among_samples_are_skipped(
    prepare: Callable[[], None],
    command: str,
    path: str,
    make: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare()
    make(Path(path))
    assert fit(command) == 0
    (line,) = {line for line in capsys.readouterr().out.splitlines() if "skipped" in line}
    assert line.startswith("1 of ")
    assert line.endswith(f"files skipped, not regular files: {path}")


@pytest.mark.slow
@SPECIAL
@pytest.mark.parametrize(
    ("prepare", "command", "path"),
    [
        (arrays, ARRAYS, "own/inputs.npy"),
        (arrays, ARRAYS, "own/targets.npy"),
        (arrays, ARRAYS, "own/class_names.txt"),
        (texts, TEXTS, "own.csv"),
        (table, TABLE, "own.csv"),
        (table, PARQUET, "own.parquet"),
        (series, SERIES, "own.csv"),
    ],
)
def test_a_special_file_as_the_dataset_is_refused(
    prepare: Callable[[], None],
    command: str,
    path: str,
    make: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare()
    Path(path).unlink(missing_ok=True)
    make(Path(path))
    assert fit(command) == 2
    message = capsys.readouterr().err
    assert path in message
    assert "regular file" in message
    assert len(message.splitlines()) == 1
    assert not Path("runs").exists()


@SPECIAL
@pytest.mark.parametrize(
    ("prepare", "data", "name"),
    [
        (images, lambda path: ImageFolder("own", size=8, predict_path=path), "new.png"),
        (arrays, lambda path: ImageArrays("own", predict_path=path), "new.png"),
        (arrays, lambda path: ImageArrays("own", predict_path=path), "new.npy"),
        (sound, lambda path: AudioFolder("own", predict_path=path), "new.wav"),
        (texts, lambda path: TextFiles("own.csv", predict_path=path), "new.csv"),
        (texts, lambda path: TextFiles("own.csv", predict_path=path), "new.txt"),
        (table, lambda path: TableCSV("own.csv", "bought", predict_path=path), "new.csv"),
        (table, lambda path: TableCSV("own.csv", "bought", predict_path=path), "new.parquet"),
        (series_folder, lambda path: SeriesFolder("own", predict_path=path), "new.csv"),
    ],
)
def test_a_special_file_to_predict_is_refused(
    prepare: Callable[[], None],
    data: Callable[[str], ArrayDataModule],
    name: str,
    make: Callable[[Path], None],
) -> None:
    prepare()
    make(Path(name))
    module = data(name)
    module.setup()
    with pytest.raises(InputError, match=rf"^[^\n]*{name}[^\n]*regular file[^\n]*$"):
        module.predict_dataloader()


def test_without_the_check_a_fifo_would_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check a FIFO is among the files that are read."""
    images()
    fifo(Path("own/cat/0.png"))
    monkeypatch.setattr(listing, "regular_files", list)
    assert Path("own/cat/0.png") in listing.files_in(Path("own"), (".png",))


# Links


def link_folders(links_each: int) -> None:
    """Write 20 folders with one image each, where each folder links to the next ones."""
    for i in range(20):
        Path("own/cat", f"{i:02}").mkdir(parents=True)
        Path("own/cat", f"{i:02}", "a.png").touch()
        for j in range(i + 1, min(i + 1 + links_each, 20)):
            Path("own/cat", f"{i:02}", f"to_{j}").symlink_to(Path("own/cat", f"{j:02}").absolute())


def test_a_folder_with_many_paths_to_it_is_read_once() -> None:
    link_folders(links_each=19)  # 2^18 paths lead to the last folder
    assert len(listing.files_in(Path("own"), (".png",))) == 20


def test_a_loop_of_links_is_refused() -> None:
    link_folders(links_each=1)
    Path("own/cat/19/back").symlink_to(Path("own/cat/00").absolute())
    with pytest.raises(InputError, match=r"back links to .*own/cat/00, which contains it"):
        listing.files_in(Path("own"), (".png",))
