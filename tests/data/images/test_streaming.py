import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from litnets.__main__ import main
from litnets.data import StreamedImages
from litnets.data.images.base import channel_statistics
from litnets.data.images.streaming import Chunks, ChunkSampler, StreamedDataset, statistics_sample
from litnets.errors import InputError
from tests.conftest import ROOT
from tests.helpers.interrupting import at
from tests.helpers.tiny_images import learnable_color_images
from tests.helpers.tiny_streamed import CHUNK, SIZES, write_streamed
from tests.stress import interruptions

pytest.importorskip("litdata")

COMMAND = ["--model", "CNNClassifier", "--model.widths", "[4, 8]", "--model.dropout", "0.2", "--data", "StreamedImages"]
COMMAND += ["--data.num_classes", "10", "--data.batch_size", "16", "--data.cache_dir", "cache"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_streamed(tmp_path_factory.mktemp("streamed"))


@pytest.fixture(params=["", "local:"], ids=["folder", "elsewhere"])
def root(request: pytest.FixtureRequest, written: Path) -> str:
    """A folder, and the same folder like an object store, from which litdata fetches chunks."""
    return f"{request.param}{written}"


def ready(root: str | Path, **arguments: Any) -> StreamedImages:
    given = {"num_classes": 10, "batch_size": 16, "eval_batch_size": 32, "cache_dir": "cache"}
    data = StreamedImages(str(root), **given | arguments)
    data.prepare_data()
    data.setup()
    return data


def epoch(loader: Any, number: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Return the batches of an epoch."""
    loader.batch_sampler.sampler.set_epoch(number)
    return list(loader)


def concatenated(batches: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, targets = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(targets)


def expected(part: str) -> tuple[Tensor, Tensor]:
    images, targets = learnable_color_images(SIZES[part], list(SIZES).index(part), side=8)
    return torch.from_numpy(images), torch.from_numpy(targets)


def names(images: Tensor) -> list[bytes]:
    """Return the bytes of each image, which identify it."""
    return [image.numpy().tobytes() for image in images]


# Facts and batches


def test_facts(root: str) -> None:
    data = ready(root)
    assert data.input_shape == (3, 8, 8)
    assert data.num_classes == 10
    assert data.class_names == [str(i) for i in range(10)]
    assert data.class_counts is None
    assert {part: len(split) for part, split in data.splits.items()} == SIZES
    images, _ = expected("train")
    assert (data.mean, data.std) == channel_statistics(images, torch.arange(len(images)))
    assert data.shards_itself


def test_a_report_shows_the_first_images_and_counts_no_classes(written: Path) -> None:
    data = ready(written)
    assert data.describe_data()["splits"] == {part: {"samples": SIZES[part]} for part in ("train", "val", "test")}
    assert data.choose_examples("test", 3) == [0, 1, 2]
    image = Image.open(io.BytesIO(data.raw_input("test", 1)["image"]))
    assert (np.moveaxis(np.array(image), -1, 0) == expected("test")[0][1].numpy()).all()


def test_the_validation_split_of_a_folder_may_have_another_name(written: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "renamed"))
    (folder / "val").rename(folder / "valid")
    assert len(ready(folder).splits["val"]) == SIZES["val"]


def test_only_remote_chunks_are_cached(written: Path) -> None:
    before = sorted(written.rglob("*"))
    for _ in epoch(ready(written).train_dataloader()):
        pass
    assert not Path("cache").exists(), "what is in a folder is read there"
    data = ready(f"local:{written}", cache_dir="here")
    epoch(data.train_dataloader())
    assert len(list(Path("here").rglob("chunk-*.bin"))) == 7, "only those of train were read"
    assert sorted(written.rglob("*")) == before


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("part", ["val", "test", "predict"])
def test_evaluation_is_in_order_and_complete(root: str, part: str, workers: int) -> None:
    data = ready(root, num_workers=workers)
    images, targets = concatenated(list(getattr(data, f"{part}_dataloader")()))
    wanted = expected("test" if part == "predict" else part)
    assert images.dtype == targets.dtype == torch.uint8
    assert torch.equal(images, wanted[0])
    assert torch.equal(targets, wanted[1])
    normal, classes = data.on_after_batch_transfer((images, targets), 0)
    assert normal.dtype == torch.float32
    assert classes.dtype == torch.int64


def test_training_has_each_sample_once_in_an_order_of_seed_and_epoch(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, classes = expected("train")
    target_of = dict(zip(names(wanted), classes.tolist(), strict=True))
    orders = set()
    for seed in "12":
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        for number in (0, 1):
            images, targets = concatenated(epoch(ready(root).train_dataloader(), number))
            order = names(images)
            assert sorted(order) == sorted(names(wanted))
            assert [target_of[name] for name in order] == targets.tolist()
            torch.rand(3)
            assert names(concatenated(epoch(ready(root).train_dataloader(), number))[0]) == order
            orders.add(tuple(order))
    assert len(orders) == 4


def test_workers_do_not_change_the_batches(root: str) -> None:
    alone, with_workers = ready(root).train_dataloader(), ready(root, num_workers=2).train_dataloader()
    for number in (0, 1):
        for one, other in zip(epoch(alone, number), epoch(with_workers, number), strict=True):
            assert all(map(torch.equal, one, other))
    assert with_workers.num_workers == 2


def test_the_last_batch_and_the_start_after_a_resume(root: str) -> None:
    batches = epoch(ready(root).train_dataloader(), 3)
    assert [len(targets) for _, targets in batches] == [16] * 12 + [8]
    assert [len(targets) for _, targets in epoch(ready(root, drop_last=True).train_dataloader())] == [16] * 12
    data = ready(root, num_workers=2)
    data.start_at(3, 5)
    rest = epoch(data.train_dataloader(), 3)
    assert len(rest) == 8
    for one, other in zip(rest, batches[5:], strict=True):
        assert all(map(torch.equal, one, other))


# The order


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_chunk_is_read_once_and_by_few_processes(written: Path, shuffle: bool, processes: int) -> None:
    chunks = ready(written).splits["train"].chunks  # type: ignore[union-attr]
    orders = [ChunkSampler(chunks, shuffle, 1, rank, processes).order() for rank in range(processes)]
    together = torch.cat(orders)
    left_out = SIZES["train"] % processes if shuffle else 0
    assert len(together) == len(set(together.tolist())) == SIZES["train"] - left_out
    assert [len(order) for order in orders] == [
        len(ChunkSampler(chunks, shuffle, 1, rank, processes)) for rank in range(processes)
    ]
    if shuffle:
        assert len({len(order) for order in orders}) == 1, "they must make the same number of steps"
        assert orders[0][:CHUNK].tolist() != sorted(orders[0][:CHUNK].tolist()), "a chunk is read in its own order"
    read = [(order // CHUNK).unique_consecutive().tolist() for order in orders]
    assert all(len(chunk) == len(set(chunk)) for chunk in read), "a chunk is read twice"
    assert sum(map(len, read)) <= 7 + processes - 1
    if shuffle:
        visited = [number for chunk in read for number in chunk]
        assert visited != sorted(visited), "the chunks are read in their own order"


def test_statistics_sample_all_of_the_split(written: Path) -> None:
    chunks = ready(written).splits["train"].chunks  # type: ignore[union-attr]
    assert torch.cat(statistics_sample(chunks)).tolist() == list(range(SIZES["train"]))
    chunks.sizes = torch.full((1000,), 500)
    chunks.starts = chunks.sizes.cumsum(0) - chunks.sizes
    sample = statistics_sample(chunks)
    assert len(torch.cat(sample).unique()) == 2048
    assert [int(part[0]) // 500 for part in sample] == [0, 143, 285, 428, 571, 714, 856, 999]
    assert all(part.diff().min() >= 1 and part[-1] - part[0] == 499 for part in sample)


# User errors


def test_missing_litdata_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litdata", None)
    with pytest.raises(InputError, match=r"needs litdata: pip install -e '\.\[streaming\]'"):
        ready("somewhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes: expected at least 2, got 1"),
        ({"class_names": ["a", "b"]}, r"class_names: expected 10 names \(num_classes\), got 2"),
        ({"batch_size": 201, "drop_last": True}, "the 200 training samples do not fill a batch of 201"),
        ({"num_classes": 4}, r"train: sample \d+: expected a target from 0 to 3 \(num_classes\), got \d"),
    ],
)
def test_invalid_arguments_are_refused(written: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ready(written, **arguments)


def test_a_cache_that_is_too_small_is_refused(written: Path) -> None:
    with pytest.raises(InputError, match=r"cache_gigabytes: expected at least .* to hold all chunks of local:.*train"):
        ready(f"local:{written}", cache_gigabytes=1e-6)


@pytest.mark.parametrize("prefix", ["", "local:"])
def test_a_missing_folder_is_refused(tmp_path: Path, prefix: str, written: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/train cannot be opened .*; expected an index.json"):
        ready(f"{prefix}{tmp_path}/nowhere")
    shutil.copytree(written / "train", tmp_path / "some" / "train")
    with pytest.raises(InputError, match="some/val cannot be opened"):
        ready(f"{prefix}{tmp_path}/some")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([(np.float32, 8, 0)], r"sample 0: .* uint8 image \(channels, height, width\), got torch.float32 \(3, 8, 8\)"),
        ([(np.uint8, 8, 0), (np.uint8, 9, 0)], r"sample 1: .* uint8 image \(3, 8, 8\), got torch.uint8 \(3, 8, 9\)"),
        ([(np.uint8, 8, 10)], "sample 0: expected a target from 0 to 9"),
        ([], "sample 0: expected a dictionary with image and target, got picture"),
    ],
)
def test_samples_of_another_format_are_refused(tmp_path: Path, samples: list[Any], message: str) -> None:
    first = [{"image": np.zeros((3, 8, width), kind), "target": target} for kind, width, target in samples]
    write_streamed(tmp_path, train=first or [{"picture": np.zeros(3)}])
    chunks = Chunks(str(tmp_path / "train"), "cache", 1.0)
    with pytest.raises(InputError, match=f"train: {message}"):
        StreamedDataset(chunks, num_classes=10).__getitems__(range(len(chunks)))


def test_compressed_chunks_are_refused(tmp_path: Path, written: Path) -> None:
    shutil.copytree(written, tmp_path / "packed")
    index = tmp_path / "packed" / "train" / "index.json"
    content = json.loads(index.read_text())
    content["config"]["compression"] = "zstd"
    content["chunks"][1]["filename"] = "chunk-0-1.zstd.bin"
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match="compression: expected none, got 'zstd'"):
        ready(tmp_path / "packed")


# The commands


@pytest.mark.parametrize(("prefix", "workers"), [("", "0"), pytest.param("local:", "2", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_commands(
    written: Path, prefix: str, workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data.root", f"{prefix}{written}", "--data.num_workers", workers, "--data.augment", "[RandomFlip]"]
    assert main(["fit", *COMMAND, *options, "--trainer.max_epochs", "1"]) == 0
    (run,) = Path("checkpoints").glob("*/*")
    assert capsys.readouterr().err == ""
    if not prefix:
        assert main(["test", "--config", str(run / "config.yaml")]) == 0
        others = ["--data.class_names", str([f"c{i}" for i in range(10)])]
        assert main(["test", "--config", str(run / "config.yaml"), *others]) == 2
        assert "the checkpoint was trained on the classes 0, 1" in capsys.readouterr().err
        return
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    rows = predictions(run)
    assert [int(row["index"]) for row in rows] == list(range(SIZES["test"]))
    (tmp_path / "new").mkdir()
    for number, image in enumerate(expected("test")[0][:5]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "new" / f"{number}.png")
    new = ["--data.root", "gone", "--data.predict_path", str(tmp_path / "new")]
    assert main(["predict", str(run), "--overwrite", *new]) == 0
    again = predictions(run)
    assert [row["file"] for row in again] == [f"{number}.png" for number in range(5)]
    assert [row["prediction"] for row in again] == [row["prediction"] for row in rows[:5]]
    assert capsys.readouterr().err == ""


def predictions(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_balanced_weights_are_refused(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *COMMAND, "--data.root", str(written), "--model.class_weights", "balanced"]) == 2
    assert "which the data do not report" in capsys.readouterr().err


# Resuming

# Runs tests.stress.interruptions with streamed images.
MATRIX = """
import json, sys
from tests.stress import interruptions
args, ways, batches, broken = json.loads(sys.argv[1])
interruptions.CASES["streamed"] = args
found = interruptions.check("streamed", ways, tuple(batches), broken)
print(len(found), sum(not reason for _, _, reason in found))
print(found, open("log.txt").read()[-2000:], file=sys.stderr)
"""


def interrupted(written: Path, ways: list[str], batches: list[int], *options: str, broken: str = "nothing") -> str:
    """Return how many runs were interrupted and resumed, and how many of these are bit-exact."""
    args = [*COMMAND, "--data.root", f"local:{written}", "--data.augment", "[RandomFlip]", *options]
    root = ROOT
    command = [sys.executable, "-c", MATRIX, json.dumps([args, ways, batches, broken])]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_stopped_run_resumes_bit_exactly(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An epoch has 13 batches."""
    args = [*COMMAND, "--data.root", f"local:{written}", "--data.augment", "[RandomFlip]", "--data.num_workers", "2"]
    args += ["--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "3"]
    assert main(["fit", *args, "--runs_dir", "complete"]) == 0
    assert main(["fit", *args, "--runs_dir", "stopped", *at("on_train_batch_start", 20, signal.SIGTERM)]) == 143
    stopped = interruptions.only_run("stopped")
    capsys.readouterr()
    assert main(["resume", str(stopped), "--trainer.callbacks", "null"]) == 0
    assert "resuming at epoch 2, batch 8" in capsys.readouterr().out
    expected_outcome = interruptions.outcome(interruptions.only_run("complete"))
    assert interruptions.difference(interruptions.outcome(stopped), expected_outcome) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--checkpoint.every_n_steps", "4"],
        ["--data.num_workers", "2"],
        ["--trainer.devices", "2", "--trainer.strategy", "ddp"],
    ],
    ids=["alone", "2 workers", "2 processes"],
)
def test_interrupted_runs_resume_bit_exactly(written: Path, options: list[str]) -> None:
    assert interrupted(written, ["SIGKILL", "SIGTERM", "SIGINT", "crash"], [1, 8, 17], *options) == "12 12"


@pytest.mark.slow
def test_the_interruption_matrix_detects_a_broken_order(written: Path) -> None:
    assert interrupted(written, ["SIGTERM"], [8], broken="order") == "1 0"
