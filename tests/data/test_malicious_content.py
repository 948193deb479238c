"""Files whose content would run code or claims more memory than there is; special files are in test_attacks.

A content that runs code leaves the file `pwned` behind. One that claims memory claims so much that reading it fails or
does not end.
"""

import faulthandler
import json
import os
import pickle
import struct
import sys
import wave
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import EpsImagePlugin, Image

from litnets.data import AudioFolder, ImageArrays, ImageFolder, SeriesCSV, SeriesFolder, TableCSV, TextFiles
from litnets.data.audio import reading as audio_reading
from litnets.data.core.base import ArrayDataModule
from litnets.data.images import decoding
from litnets.data.tables import frames as table_frames
from litnets.errors import InputError
from litnets.safety.files import is_regular, open_regular
from tests.helpers.tiny_images import write_image_arrays, write_image_folder
from tests.helpers.tiny_series import write_series_folder
from tests.helpers.tiny_sound import write_audio_folder, write_wav
from tests.helpers.tiny_text import rows, write_texts

LIMIT = 120  # seconds; each test takes less than one


@pytest.fixture(autouse=True)
def _hard_limit() -> Iterator[None]:
    """Kill the process if a test hangs in any thread."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


class Touch:
    """An object whose unpickling creates the file `pwned`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def refused(module: ArrayDataModule, message: str) -> None:
    """Setting the module up fails with an error of at most a line for each file and one about all."""
    with pytest.raises(InputError, match=message) as caught:
        module.setup()
    assert len(str(caught.value).splitlines()) <= 2
    assert not Path("pwned").exists()


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG of this size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\1IDAT"


GIF_FRAME = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\2\1\0\0;"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(60_000, 60_000), "too many pixels; expected at most 89,478,485"),
        (png(9_500, 9_500), "(too many|9500 x 9500) pixels; expected at most"),  # of which Pillow only warns
        (png(2**31 - 1, 2**31 - 1), "too many pixels"),
        (b"P6 50000 50000 255\n", "too many pixels"),
        (
            b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
            "too many pixels",
        ),
        (b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + GIF_FRAME, "too many pixels"),
        (EPS, "not an image, or a broken one"),
        (b"%PDF-1.4\n", "not an image, or a broken one"),
        (b"\0\0\1\0", "not an image, or a broken one"),
    ],
)
def test_images(content: bytes, message: str) -> None:
    write_image_folder(Path("own"), size=4)
    Path("own/cat/00.png").write_bytes(content)
    refused(ImageFolder("own", size=8), rf"1 of 12 images cannot be read.*\n  own/cat/00\.png: ({message})")
    module = ImageArrays("arrays", predict_path="own/cat/00.png")
    write_image_arrays(Path("arrays"))
    module.setup()
    with pytest.raises(InputError, match=message):
        module.predict_dataloader()


@pytest.mark.filterwarnings("ignore")
def test_no_external_program_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS starts `gs`, if Pillow may read it."""
    Path("gs").write_text("#!/bin/sh\ntouch pwned\nexit 1\n")
    Path("gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path.cwd()}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    write_image_folder(Path("own"), size=4)
    Path("own/cat/00.png").write_bytes(EPS)
    refused(ImageFolder("own", size=8), "not an image, or a broken one")
    monkeypatch.setattr(decoding.open_image, "__defaults__", (None, None, decoding.MAX_PIXELS))
    with pytest.raises(InputError):
        ImageFolder("own", size=8).setup()
    assert Path("pwned").exists(), "the test proves nothing: Pillow no longer starts Ghostscript"


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_folder(Path("own"), size=4)
    Image.new("RGB", (1600, 1600)).save("own/cat/00.png", format="JPEG")
    monkeypatch.setattr(decoding, "_LARGE", 100)
    ImageFolder("own", size=8, max_pixels=300 * 300).setup()
    Image.new("RGB", (1600, 1600)).save("own/cat/00.png")
    message = "1600 x 1600 pixels; expected at most 90,000; if you trust the image, raise --data.max_pixels"
    refused(ImageFolder("own", size=8, max_pixels=300 * 300), message)


def test_a_progressive_jpeg_takes_the_memory_of_its_full_size() -> None:
    write_image_folder(Path("own"), size=4)
    Image.new("RGB", (1600, 1600)).save("own/cat/00.png", format="JPEG", progressive=True)
    refused(ImageFolder("own", size=8, max_pixels=300 * 300), "1600 x 1600 pixels; expected at most 90,000")


def test_an_option_allows_larger_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses an image of more than twice its limit, whatever the caller does with its warnings."""
    write_image_folder(Path("own"), size=4)
    Image.effect_noise((200, 100), 50).save("own/cat/00.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 5000)
    refused(ImageFolder("own", size=8, max_pixels=5000), "too many pixels; expected at most 5,000")
    ImageFolder("own", size=8, max_pixels=20_000).setup()
    assert Image.MAX_IMAGE_PIXELS == 5000


# Arrays


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + content


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (20,), }\n", pickle.dumps([Touch()] * 20)),
        npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (20,), }\n", pickle.dumps(Touch())),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 64, 64), }\n"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (18446744073709551616, 2, 2), }\n"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8), }\n", bytes(64)),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (__import__('os').mkdir('pwned'), 1, 1), }\n"),
        npy("{" * 9000),
        b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + b"{}",
    ],
)
@pytest.mark.parametrize("name", ["inputs", "targets"])
def test_arrays(content: bytes, name: str) -> None:
    write_image_arrays(Path("own"))
    Path(f"own/{name}.npy").write_bytes(content)
    refused(ImageArrays("own"), rf"own/{name}\.npy")


def test_targets_of_another_length_are_not_read() -> None:
    """A file of zeros takes no room on the disk, and would in memory."""
    write_image_arrays(Path("own"))
    header = npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776,), }\n")
    Path("own/targets.npy").write_bytes(header)
    os.truncate("own/targets.npy", len(header) + 2**43)
    refused(ImageArrays("own"), "expected one class for each of the 120 inputs, got shape")


# Sound


def wav(frames: int, rate: int = 8000, claimed: int | None = None) -> bytes:
    """A WAV of 16 bits whose header may claim another size."""
    size = 2 * frames if claimed is None else claimed
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        2**32 - 1,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        2 * rate % 2**32,
        2,
        16,
        b"data",
        size,
    )
    return head + bytes(2 * frames)


def flac(samples: int, claimed: int | None = None) -> bytes:
    """Silence, and a header that may claim another length, of 36 bits."""
    soundfile = pytest.importorskip("soundfile")
    soundfile.write("silence.flac", np.zeros(samples, np.int16), 8000)
    content = bytearray(Path("silence.flac").read_bytes())
    if claimed is not None:
        content[21] = (content[21] & 0xF0) | claimed >> 32
        content[22:26] = struct.pack(">I", claimed & 0xFFFFFFFF)
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.wav", lambda: wav(100, claimed=2**30), "truncated: it has 100 of 536870912 samples"),
        ("a.wav", lambda: wav(100, rate=1), "a sample rate of 1 Hz; expected 1000 to 1,000,000 Hz"),
        ("a.wav", lambda: wav(100, rate=2**32 - 5), "a sample rate of 4294967291 Hz; expected"),
        ("a.wav", lambda: b"RIFF", "."),
        ("a.flac", lambda: flac(100, claimed=2**36 - 1), "."),
        ("a.flac", lambda: flac(100, claimed=0), "."),
        ("a.flac", lambda: flac(2**16), "more than 1,024 samples in"),
        ("a.wav", lambda: flac(2**16), "more than 1,024 samples in"),
    ],
)
def test_sound(name: str, make: Callable[[], bytes], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_reading, "MIN_DECODED", 1024)
    monkeypatch.setattr(audio_reading, "MAX_RATIO", 1)
    monkeypatch.setattr(audio_reading, "_BLOCK", 1000)
    write_audio_folder(Path("own"), size=3)
    Path("own/low", name).write_bytes(make())
    refused(AudioFolder("own"), rf"1 of 10 recordings cannot be read.*\n  own/low/{name}: {message}")


def test_a_recording_is_read_in_blocks_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    values = np.random.default_rng(0).integers(-3000, 3000, (5000, 2), np.int16)
    soundfile.write("a.flac", values, 8000)
    write_wav(Path("a.wav"), values)
    expected = audio_reading.read_audio(Path("a.wav"), 8000)
    monkeypatch.setattr(audio_reading, "_BLOCK", 999)
    assert audio_reading.read_audio(Path("a.flac"), 8000).equal(expected)
    with wave.open("a.wav") as file:
        assert len(expected) == file.getnframes() == 5000


# Texts


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "line 1: cannot be read as JSON"),
        ('{"text": ' + "9" * 5000 + "}", "line 1: cannot be read as JSON"),
        (json.dumps({"text": "a\ud800", "label": "a"}), "line 1: half of a surrogate pair"),
        (json.dumps({"text": "a", "label": "\udfff"}), "line 1: half of a surrogate pair"),
        (json.dumps({"text": ["x"] * 10_000, "label": "a"}), "line 1: expected a text in 'text', got"),
        ('{"text": NaN, "label": "a"}', "line 1: expected a text in 'text', got NaN"),
    ],
)
def test_lines_of_json(line: str, message: str) -> None:
    Path("own.jsonl").write_text(f"{line}\n")
    refused(TextFiles("own.jsonl"), message)
    with pytest.raises(InputError) as caught:
        TextFiles("own.jsonl").setup()
    assert len(str(caught.value)) < 500


def test_texts_are_not_evaluated() -> None:
    content = [(f"{{{{7*7}}}} __import__('os').mkdir('pwned') {i}", "ab"[i % 2]) for i in range(40)]
    write_texts(Path("own.csv"), content)
    TextFiles("own.csv").setup()
    assert not Path("pwned").exists()


# Tables


def write_parquet(**columns: Any) -> None:
    pl.DataFrame(columns).write_parquet("own.parquet")


class Label(pl.BaseExtension):
    def __init__(self) -> None:
        super().__init__("POLARS_EXTENSION_TYPE", pl.Int64, "")


def test_parquet_with_far_more_rows_than_bytes_is_refused() -> None:
    write_parquet(x=pl.repeat(1, 40_000_000, dtype=pl.Int8, eager=True), y=pl.repeat(0, 40_000_000, eager=True))
    assert Path("own.parquet").stat().st_size < 400_000
    refused(TableCSV("own.parquet", "y"), "40,000,000 rows of 2 columns in .* bytes; expected fewer cells")


def test_parquet_with_far_more_text_than_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(x=["x" * 10_000] * 1000, y=[0, 1] * 500)
    monkeypatch.setattr(table_frames, "MIN_CELLS", 10_000)
    refused(TableCSV("own.parquet", "y"), "column 'x' has 10,000,000 bytes of text in a file of")


@pytest.mark.filterwarnings("ignore::UserWarning")  # polars, of a type that it does not know
@pytest.mark.parametrize(
    "column",
    [
        pl.Series([b"a"] * 20),
        pl.Series([[1, 2]] * 20),
        pl.Series([{"a": 1}] * 20),
        pl.Series([1] * 20).ext.to(Label()),
    ],
    ids=["binary", "list", "struct", "extension"],
)
def test_parquet_with_other_columns(column: pl.Series) -> None:
    write_parquet(x=column, y=[0, 1] * 10)
    refused(TableCSV("own.parquet", "y"), "column 'x': expected numbers, texts or dates, got ")


@pytest.mark.parametrize("where", range(4, 400, 12))
def test_parquet_with_a_changed_byte(where: int) -> None:
    """Read or refused, but no panic, which no one would catch."""
    write_parquet(x=list(range(20)), y=[0, 1] * 10)
    content = bytearray(Path("own.parquet").read_bytes())
    content[where % len(content)] ^= 0xFF
    Path("own.parquet").write_bytes(content)
    with suppress(InputError):
        TableCSV("own.parquet", "y").setup()


def test_parquet_is_not_unpickled() -> None:
    Path("own.parquet").write_bytes(pickle.dumps(Touch()))
    refused(TableCSV("own.parquet", "y"), "cannot be read")


# Names


NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such a name")
@pytest.mark.parametrize(
    ("prepare", "module", "path"),
    [
        (lambda: write_image_folder(Path("own"), size=4), lambda: ImageFolder("own"), "own/cat"),
        (lambda: write_image_folder(Path("own"), size=4), lambda: ImageFolder("own"), "own/cat/00.png"),
        (lambda: write_audio_folder(Path("own"), size=4), lambda: AudioFolder("own"), "own/low"),
        (lambda: write_audio_folder(Path("own"), size=4), lambda: AudioFolder("own"), "own/low/00.wav"),
        (lambda: write_texts(Path("own"), rows()), lambda: TextFiles("own"), "own/a"),
        (lambda: write_texts(Path("own"), rows()), lambda: TextFiles("own"), "own/a/0000.txt"),
        (lambda: write_series_folder(Path("own")), lambda: SeriesFolder("own"), "own/fast"),
        (lambda: write_series_folder(Path("own")), lambda: SeriesFolder("own"), "own/fast/00.csv"),
    ],
)
def test_a_name_that_is_not_utf8_is_refused(
    prepare: Callable[[], None], module: Callable[[], ArrayDataModule], path: str
) -> None:
    prepare()
    Path(path).rename(Path(path).with_name(NOT_UTF8 + Path(path).suffix))
    refused(module(), r"caf\udce9.*: the name is not UTF-8; rename the file or folder")


@pytest.mark.parametrize(
    "module",
    [
        lambda name: ImageFolder(name),
        lambda name: ImageArrays(name),
        lambda name: AudioFolder(name),
        lambda name: TextFiles(f"{name}.csv"),
        lambda name: TextFiles(f"{name}.jsonl"),
        lambda name: TableCSV(f"{name}.csv", "y"),
        lambda name: TableCSV(f"{name}.parquet", "y"),
        lambda name: SeriesCSV(f"{name}.csv"),
        lambda name: SeriesFolder(name),
    ],
)
def test_a_nul_in_a_path_is_refused(module: Callable[[str], ArrayDataModule]) -> None:
    with pytest.raises(InputError):
        module("a\0b").setup()


def test_open_regular_refuses_a_nul() -> None:
    assert not is_regular(Path("a\0b"))
    with pytest.raises(InputError, match="is not a file name"):
        open_regular(Path("a\0b"))
