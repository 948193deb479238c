"""Streamed data sets that would run code, leave their folder or exhaust memory are refused before a chunk is read."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litnets.__main__ import main
from litnets.data import StreamedImages
from litnets.data.images.streaming import Chunks
from litnets.errors import InputError
from tests.helpers.tiny_streamed import CHUNK, tiny_samples, write_streamed

litdata = pytest.importorskip("litdata")

from litnets.data.images import stream_format  # noqa: E402  # it imports litdata

Index = dict[str, Any]


class Touch:
    """An object that creates the file `pwned` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def with_pickles() -> list[dict[str, Any]]:
    return [{**sample, "note": Touch()} for sample in tiny_samples(40, 0)]


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a field that litdata stores as a pickle."""
    return write_streamed(tmp_path_factory.mktemp("pickled"), **dict.fromkeys(("train", "val", "test"), with_pickles()))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = tiny_samples(40, 0)
    return write_streamed(tmp_path_factory.mktemp("plain"), **dict.fromkeys(("train", "val", "test"), samples))


def read_all(address: Path | str) -> None:
    chunks = Chunks(str(address), "cache", 1.0)
    dataset = chunks.open()
    for i in range(len(chunks)):
        dataset[i]


def change(folder: Path, edit: Callable[[Index], None]) -> None:
    path = folder / "index.json"
    index = json.loads(path.read_text())
    edit(index)
    path.write_text(json.dumps(index))


def test_litdata_alone_runs_a_pickle(pickled: Path) -> None:
    """Otherwise the tests below would prove nothing."""
    litdata.StreamingDataset(str(pickled / "train"))[0]
    assert Path("pwned").exists()


@pytest.mark.parametrize("prefix", ["", "local:"])
def test_the_command_refuses_a_pickle(pickled: Path, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", "StreamedImages", "--data.root", f"{prefix}{pickled}", "--data.num_classes", "10"]
    assert main(["fit", "--model", "MLPClassifier", *options, "--trainer.max_epochs", "1"]) == 2
    message = capsys.readouterr().err
    assert "the format 'pickle' is not allowed, because it can contain Python objects" in message
    assert len(message.splitlines()) == 1
    assert not Path("pwned").exists()


def set_format(*formats: Any) -> Callable[[Index], None]:
    return lambda index: index["config"].update(data_format=list(formats))


def set_config(**values: Any) -> Callable[[Index], None]:
    return lambda index: index["config"].update(values)


def set_chunk(**values: Any) -> Callable[[Index], None]:
    return lambda index: index["chunks"][0].update(values)


def tree(kind: str, context: Any, children: int = 2) -> str:
    leaf = {"type": None, "context": None, "children_spec": []}
    return json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf] * children}])


# Makes litdata import the module `evil`, which the test writes.
IMPORT = {"default_factory_module": "evil", "default_factory_name": "x", "dict_context": ["image", "target"]}


@pytest.mark.parametrize("prefix", ["", "local:"])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_format("numpy", "pickle"), "the format 'pickle'"),
        (set_format("numpy", "int:pickle"), "the format 'int:pickle'"),  # litdata uses the format after the colon
        (set_format("numpy", "numpy:graph"), "the format 'numpy:graph'"),
        (set_format("graph:pickle", "int"), "the format 'graph:pickle'"),
        (set_format("pil", "int"), "the format 'pil'"),
        (set_format("video", "int"), "the format 'video'"),
        (set_format("numpy", "int\n"), "the format"),
        (set_format("numpy", 7), "the format '7'"),
        (set_format(), "data_format: expected a list"),
        (set_config(data_spec=tree("collections.defaultdict", IMPORT)), "another structure"),
        (set_config(data_spec=tree("builtins.tuple", "null")), "another structure"),
        (set_config(data_spec="[" * 100_000), "another structure"),
        (set_config(data_spec=None), "another structure"),
        (set_config(compression="zstd"), "compression: expected none"),
        (set_config(encryption={"algorithm": "fernet", "level": "chunk"}), "encryption: expected none"),
        (set_config(format="mds"), "format: expected none"),
        (lambda index: index.update(updated_at="../../outside"), "updated_at: expected a time"),
        (lambda index: index.update(updated_at="/tmp/outside"), "updated_at: expected a time"),
        (lambda index: index.update(updated_at=".."), "updated_at: expected a time"),
        (lambda index: index.update(shards=[]), "expected config and chunks"),
        (lambda index: index.update(chunks=[]), "expected a list of chunks"),
        (set_chunk(filename="../../outside.bin"), "expected the name of a file in the same folder"),
        (set_chunk(filename="/etc/passwd"), "expected the name of a file in the same folder"),
        (set_chunk(filename="a\0b"), "expected the name of a file in the same folder"),
        (set_chunk(chunk_size=10**12), "cannot hold 1000000000000 samples"),
        (set_chunk(chunk_size=-1), "cannot hold -1 samples"),
    ],
)
def test_an_index_that_asks_for_more_than_plain_values_is_refused(
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefix: str,
    edit: Callable[[Index], None],
    message: str,
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('pwned', 'w').close()\nx = dict\n")
    shutil.copytree(plain / "train", tmp_path / "data" / "train")
    change(tmp_path / "data" / "train", edit)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message) as caught:
        read_all(f"{prefix}{tmp_path / 'data' / 'train'}")
    assert len(str(caught.value).splitlines()) == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.suffix != ".lock"] in (
        [],
        [tmp_path / "cache"],
    )


def test_an_index_replaced_between_two_reads_is_refused(plain: Path, pickled: Path, tmp_path: Path) -> None:
    shutil.copytree(pickled / "train", tmp_path / "train")
    shutil.copytree(plain / "train", tmp_path / "train", dirs_exist_ok=True)
    (tmp_path / "train" / "chunk-0-0.bin").write_bytes((pickled / "train" / "chunk-0-0.bin").read_bytes())
    chunks = Chunks(str(tmp_path / "train"), "cache", 1.0)
    (tmp_path / "train" / "index.json").write_bytes((pickled / "train" / "index.json").read_bytes())
    with pytest.raises(InputError, match="the format 'pickle' is not allowed"):
        chunks.open()
    assert not Path("pwned").exists()


def test_litdata_gets_only_safe_decoders(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Chunks(str(plain / "train"), "cache", 1.0).open().cache._reader._item_loader
    assert type(loader) is stream_format.PyTreeLoader
    assert set(loader._serializers) == set(stream_format.DECODERS)
    assert not any(name in loader._serializers for name in ("pickle", "graph", "pil", "file", "video"))
    for decoder in stream_format.DECODERS.values():
        assert type(decoder).__name__ not in ("PickleSerializer", "GraphSerializer")
    # The loader refuses the format even if the check of the index misses it.
    monkeypatch.setattr(stream_format, "_check_index", lambda index, name: None)
    path = plain / "train" / "index.json"
    content = path.read_text()
    try:
        change(plain / "train", set_format("numpy", "pickle"))
        with pytest.raises(InputError, match="the format 'pickle' is not allowed"):
            read_all(plain / "train")
    finally:
        path.write_text(content)


def test_a_fifo_among_the_chunks_is_refused(plain: Path, tmp_path: Path) -> None:
    for name in ("chunk-0-0.bin", "index.json"):
        shutil.copytree(plain / "train", tmp_path / name)
        (tmp_path / name / name).unlink()
        os.mkfifo(tmp_path / name / name)
        for prefix in ("", "local:"):
            with pytest.raises(InputError, match=f"{name} is a FIFO; expected a regular file"):
                read_all(f"{prefix}{tmp_path / name}")


def test_a_device_among_the_chunks_is_refused(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain / "train", tmp_path / "train")
    (tmp_path / "train" / "chunk-0-1.bin").unlink()
    (tmp_path / "train" / "chunk-0-1.bin").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"chunk-0-1\.bin is a device"):
        read_all(f"local:{tmp_path / 'train'}")


def test_a_truncated_chunk_is_refused(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain / "train", tmp_path / "train")
    os.truncate(tmp_path / "train" / "chunk-0-0.bin", 100)
    with pytest.raises(InputError, match=r"chunk-0-0\.bin is truncated: it has 100 of"):
        read_all(tmp_path / "train")


def test_no_index_is_created_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be opened"):
        read_all(tmp_path / "train")
    assert [path.name for path in (tmp_path / "train").iterdir()] == ["table.parquet"]


def png_bomb() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\1IDAT"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tensor", struct.pack(">II3I", 4, 3, 3, 60_000, 60_000), "has no values"),
        ("jpeg", png_bomb(), "too many pixels"),
        ("image", png_bomb(), "too many pixels"),
        ("image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot identify"),
        ("numpy", np.array([14, 1, 1], np.uint32).tobytes() + bytes(8), "OBJECT"),  # Python objects
    ],
)
def test_a_field_that_claims_too_much_memory_is_refused(name: str, content: bytes, message: str) -> None:
    with pytest.raises(Exception, match=message):
        stream_format.DECODERS[name].deserialize(content)


def test_a_dataset_written_as_documented_is_read(tmp_path: Path) -> None:
    samples = [{**sample, "path": "a.png", "weight": 0.5, "flag": True} for sample in tiny_samples(CHUNK, 0)]
    write_streamed(tmp_path, train=samples)
    read_all(tmp_path / "train")
    assert StreamedImages(str(tmp_path), num_classes=10).num_classes == 10
