import csv
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litnets.__main__ import main
from litnets.data import ImageArrays
from litnets.data.images.arrays import MappedImages
from litnets.data.images.base import channel_statistics
from litnets.errors import InputError
from tests.helpers.interrupting import at
from tests.helpers.tiny_images import learnable_color_images, write_image_arrays

FIT = ["--model", "MLPClassifier", "--model.hidden_layer_sizes", "[8]", "--data", "ImageArrays", "--data.root", "own"]
FIT += ["--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"]

STATUS = Path("/proc/self/status")
linux = pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")


def ready(root: Path, **arguments: Any) -> ImageArrays:
    data = ImageArrays(str(root), **{"batch_size": 16, **arguments})
    data.prepare_data()
    data.setup()
    return data


def save(root: Path, inputs: Any, targets: Any, prefix: str = "") -> Path:
    root.mkdir(exist_ok=True)
    np.save(root / f"{prefix}inputs.npy", inputs)
    np.save(root / f"{prefix}targets.npy", targets)
    return root


def sparse(root: Path, shape: tuple[int, ...]) -> Path:
    """Write black images of the classes 0 and 1 as a sparse file, which takes no disk space."""
    root.mkdir(exist_ok=True)
    with (root / "inputs.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)))
    np.save(root / "targets.npy", np.arange(shape[0], dtype=np.uint8) % 2)
    return root


def anonymous_memory() -> int:
    """Return the memory of this process that is not backed by a file, in megabytes."""
    return int(STATUS.read_text().partition("RssAnon:")[2].split()[0]) // 1024


# Batches and splits


def test_batches_equal_those_of_images_in_memory(tmp_path: Path) -> None:
    images, labels = learnable_color_images(200, 0, 10)
    data = ready(save(tmp_path, images, labels))
    assert (data.input_shape, data.num_classes, data.class_names) == ((3, 10, 10), 10, [str(i) for i in range(10)])
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [120, 40, 40]
    assert data.class_counts == [12] * 10
    for name, split in data.splits.items():
        batches = list(getattr(data, f"{name}_dataloader")())
        order = torch.cat(list(getattr(data, f"{name}_dataloader")().batch_sampler))
        chosen = split.indices[order]
        assert torch.equal(torch.cat([inputs for inputs, _ in batches]), torch.from_numpy(images)[chosen])
        assert torch.equal(torch.cat([targets for _, targets in batches]), torch.from_numpy(labels)[chosen])
        image, target = split[3]
        assert torch.equal(image, torch.from_numpy(images)[split.indices[3]])
        assert target == labels[split.indices[3]]
    assert (data.mean, data.std) == channel_statistics(torch.from_numpy(images), data.splits["train"].indices)


def test_grayscale_images_need_no_channel_dimension(tmp_path: Path) -> None:
    images, labels = learnable_color_images(60, 0, 10)
    data = ready(save(tmp_path, images[:, 0], labels.astype(">i8")))
    assert data.input_shape == (1, 10, 10)
    inputs, targets = data.splits["val"][torch.arange(5)]
    indices = data.splits["val"].indices[:5]
    assert torch.equal(inputs, torch.from_numpy(images)[indices, :1])
    assert targets.tolist() == labels[indices].tolist()


def test_files_per_split_are_not_split_further(tmp_path: Path) -> None:
    write_image_arrays(tmp_path, 100, prefix="train_")
    data = ready(tmp_path)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [60, 20, 20]
    write_image_arrays(tmp_path, 30, prefix="test_")
    data = ready(tmp_path, num_folds=4)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [75, 25, 30]
    write_image_arrays(tmp_path, 40, prefix="val_")
    data = ready(tmp_path)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [100, 40, 30]
    for name, split in data.splits.items():
        assert split.inputs.path.name == f"{name}_inputs.npy"
    with pytest.raises(InputError, match=r"num_folds: val_inputs.npy is the validation split"):
        ready(tmp_path, num_folds=4)


def test_files_of_splits_have_several_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in (("Train", 50), ("dev", 20), ("test", 10), ("extra", 5)):
        write_image_arrays(tmp_path, size, prefix=f"{name}_")
    data = ready(tmp_path)
    assert [len(data.splits[part]) for part in ("train", "val", "test")] == [50, 20, 10]
    assert capsys.readouterr().out == f"{tmp_path}: extra_inputs.npy left out; expected train, val and test\n"
    write_image_arrays(tmp_path, 20, prefix="valid_")
    with pytest.raises(InputError, match=r"dev_inputs.npy and valid_inputs.npy both hold the val split; remove one"):
        ready(tmp_path)


def test_folds_partition(tmp_path: Path) -> None:
    write_image_arrays(tmp_path, 100)
    folds = [ready(tmp_path, num_folds=5, fold=fold).splits["test"].indices for fold in range(5)]
    assert torch.cat(folds).sort().values.tolist() == list(range(100))
    assert not torch.equal(ready(tmp_path, split_seed=1).splits["test"].indices, folds[0])


def test_class_names_are_read(tmp_path: Path) -> None:
    images, labels = learnable_color_images(60, 0, 10)
    save(tmp_path, images, labels % 3)
    (tmp_path / "class_names.txt").write_text("cat\nköter\n owl\n\n", encoding="utf-8-sig")
    assert ready(tmp_path).class_names == ["cat", "köter", "owl"]


# Memory


def test_only_indexed_images_of_a_file_larger_than_memory_are_read(tmp_path: Path) -> None:
    size = 4 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6
    images = MappedImages(sparse(tmp_path, (size, 1, 1000, 1000)) / "inputs.npy")
    assert images.shape == (size, 1, 1000, 1000)
    assert not images[torch.tensor([size - 1, 0])].any()
    assert len(pickle.dumps(images)) < 1000


@linux
def test_images_are_not_kept_in_memory(tmp_path: Path) -> None:
    small = ready(sparse(tmp_path / "small", (60, 1, 128, 128)))  # allocates everything that is needed only once
    assert next(iter(small.train_dataloader()))[0].max() == small.mean[0] == 0
    before = anonymous_memory()
    data = ready(sparse(tmp_path, (6000, 1, 128, 128)))  # 98 MB
    assert data.mean == [0]
    assert sum(len(targets) for _, targets in data.train_dataloader()) == 3600
    assert anonymous_memory() - before < 20


def test_pickled_images_are_memory_mapped_again(tmp_path: Path) -> None:
    write_image_arrays(tmp_path)
    split = ready(tmp_path).splits["train"]
    sent = pickle.loads(pickle.dumps(split))
    assert torch.equal(sent[torch.arange(20)][0], split[torch.arange(20)][0])
    assert sent.inputs.path == split.inputs.path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no madvise")
def test_images_of_a_shuffled_batch_are_prefetched(tmp_path: Path) -> None:
    images = MappedImages(sparse(tmp_path, (1000, 1, 50, 41)) / "inputs.npy")
    advised = []

    class Map:
        def madvise(self, advice: int, start: int, length: int) -> None:
            advised.append((start, start + length))

    images._map = Map()  # type: ignore[assignment]
    header = (tmp_path / "inputs.npy").stat().st_size - 1000 * 50 * 41
    chosen = [700, 3, 999, 410]
    images[torch.tensor(chosen)]
    assert len(advised) == 4
    for index, (start, end) in zip(chosen, advised, strict=True):
        assert start % os.sysconf("SC_PAGE_SIZE") == 0
        assert start <= header + index * 50 * 41 < start + os.sysconf("SC_PAGE_SIZE")
        assert end == header + (index + 1) * 50 * 41
    images[torch.arange(300, 400)]  # contiguous images use the read-ahead
    images[torch.tensor(7)]
    assert len(advised) == 4


def test_statistics_are_computed_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_arrays(tmp_path)
    state = ready(tmp_path).state_dict()
    monkeypatch.setattr("litnets.data.images.base.channel_statistics", None)
    data = ready(tmp_path)
    data.load_state_dict(state)
    assert (data.mean, data.std) == (state["mean"], state["std"])
    with pytest.raises(TypeError, match="not callable"):
        ready(tmp_path).prepare(torch.zeros(1, 3, 12, 12))


# User errors


GOOD = np.zeros((20, 8, 8), np.uint8)
HALF = np.arange(20, dtype=np.uint8) % 2


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (GOOD.astype(np.float32), HALF, r"inputs.npy: expected uint8 values from 0 to 255, got float32"),
        (GOOD[0], HALF, r"inputs.npy: expected shape \(N, height, width\) or .*, got \(8, 8\)"),
        (GOOD[:, None, None], HALF, r"expected shape .*, got \(20, 1, 1, 8, 8\)"),
        (GOOD[:0], HALF, r"expected shape .*, got \(0, 8, 8\)"),
        (np.zeros((20, 8, 8, 3), np.uint8), HALF, r"got \(20, 8, 8, 3\), with the channels last"),
        (np.asfortranarray(GOOD), HALF, "inputs.npy is in Fortran order"),
        (
            GOOD.astype(object),
            HALF,
            r"inputs.npy is not a complete .npy file of numbers \(Array can't be memory-mapped: Pyth",
        ),
        (GOOD, HALF[:19], r"targets.npy: expected one class for each of the 20 inputs, got shape \(19,\)"),
        (GOOD, np.eye(20, dtype=np.uint8), r"expected one class for each of the 20 inputs, got shape \(20, 20\)"),
        (GOOD, HALF / 2, r"targets.npy: expected integer classes from 0, got float64"),
        (GOOD, HALF.astype(np.int8) - 1, r"targets.npy: expected classes from 0, got -1"),
        (GOOD, HALF.astype(np.uint64) << 40, r"targets.npy: expected classes from 0, got 1099511627776"),
        (GOOD, HALF.astype(np.int32) * 10**9, r"the targets of 20 images go up to 1000000000; number the classes cons"),
        (GOOD, HALF * 2, "class '1' has no image in the training split"),
        (GOOD, HALF * 0, "expected at least two classes, numbered from 0, but every target is 0"),
        (GOOD, np.array(list("ab" * 10)), r"expected integer classes from 0, got <U1"),
        (GOOD, HALF.astype(object), r"targets.npy is not a complete .npy file"),
    ],
)
def test_invalid_arrays_are_refused(tmp_path: Path, inputs: Any, targets: Any, message: str) -> None:
    save(tmp_path, inputs, targets)
    with pytest.raises(InputError, match=message) as error:
        ready(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["inputs.npy", "targets.npy"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda good: good[:-1],
            r"{} is not a complete .npy file of numbers \(mmap length is greater than file size\)",
        ),
        (lambda good: b"", r"{} is not a complete .npy file of numbers \(EOF"),
        (lambda good: b"PK\x03\x04 archive", r"{} is not a complete .npy file of numbers \(the magic string"),
        (lambda good: good.replace(b"'shape': (", b"'shape': {("), r"{} is not a complete .npy file of numbers"),
        (lambda good: good.replace(b"'shape': (", b"b'hape': (8"), r"{} is not a complete .npy file of numbers"),
        (None, r"{} cannot be read: No such file"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = save(tmp_path, GOOD, HALF) / name
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content(good))
    elif name == "inputs.npy":
        message = "has neither {} nor train_inputs.npy"
    with pytest.raises(InputError, match=message.format(name)) as error:
        ready(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_inconsistent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none is not a folder; set --data\.root"):
        ready(tmp_path / "none")
    save(tmp_path, GOOD, HALF, "train_")
    save(tmp_path, GOOD[:, :4], HALF, "val_")
    with pytest.raises(InputError, match=r"val_inputs.npy: expected images of shape \(1, 8, 8\) .*, got \(1, 4, 8\)"):
        ready(tmp_path)
    save(tmp_path, GOOD, HALF + 1, "val_")
    with pytest.raises(InputError, match="val has class 2, but the classes of train end at 1"):
        ready(tmp_path)
    save(tmp_path, GOOD, HALF)
    with pytest.raises(InputError, match=r"has both inputs.npy and train_inputs.npy; remove one of them"):
        ready(tmp_path)


@pytest.mark.parametrize("names", ["cat\n", "cat\ncat\n", "a\nb\nc\n"])
def test_invalid_class_names_are_refused(tmp_path: Path, names: str) -> None:
    save(tmp_path, GOOD, HALF)
    (tmp_path / "class_names.txt").write_text(names)
    with pytest.raises(InputError, match=r"class_names.txt: expected 2 different names, one per line"):
        ready(tmp_path)


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    write_image_arrays(tmp_path)
    state = ready(tmp_path).state_dict()
    (tmp_path / "class_names.txt").write_text("\n".join("abcdefghij"))
    with pytest.raises(InputError, match="trained on the classes 0, 1, 2"):
        ready(tmp_path).load_state_dict(state)


# The command line


@pytest.mark.slow
def test_a_crashed_run_resumes_bit_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    write_image_arrays(Path("own"))
    options = [*FIT, "--data.batch_size", "16", "--data.augment", "[RandomShift]"]
    assert main(["fit", *options, "--runs_dir", "complete"]) == 0
    with pytest.raises(RuntimeError, match="crash"):
        main(["fit", *options, "--runs_dir", "crashed", "--data.num_workers", "1", *at("on_before_backward", 8)])
    (complete,), (crashed,) = Path("complete").glob("*/*"), Path("crashed").glob("*/*")
    resume_options = ["--trainer.callbacks", "[]", "--data.num_workers", "0"]
    assert main(["resume", str(crashed), *resume_options]) == 0
    output = capsys.readouterr().out
    assert "resuming at epoch 2, batch 3" in output
    weights = [torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in (complete, crashed)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert (complete / "metrics.csv").read_text() == (crashed / "metrics.csv").read_text()


@pytest.mark.slow
def test_new_arrays_and_image_files_are_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    write_image_arrays(Path("own"))
    assert main(["fit", *FIT, "--runs_dir", "runs"]) == 0
    shutil.rmtree("own")
    images, _ = learnable_color_images(7, 3, 12)
    np.save("new.npy", images)
    np.save("small.npy", images[:, :, :11])
    (run,) = Path("runs").glob("*/*")
    predict = ["predict", str(run), "--overwrite", "--data.predict_path"]
    assert main([*predict, "new.npy"]) == 0
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    content = torch.load(run / "best.ckpt", weights_only=True)
    state, weights = content["ImageArrays"], content["state_dict"]
    scaled = (torch.from_numpy(images) - torch.tensor(state["mean"]).view(3, 1, 1)) / torch.tensor(state["std"]).view(
        3, 1, 1
    )
    (w1, b1), (w2, b2) = (
        (weights[name], weights[name.replace("weight", "bias")]) for name in weights if name.endswith("weight")
    )
    expected = ((scaled.flatten(1) @ w1.T + b1).relu() @ w2.T + b2).argmax(1)
    assert [row["prediction"] for row in rows] == [str(i) for i in expected.tolist()]
    assert [row["index"] for row in rows] == [str(i) for i in range(7)]
    for path, message in (
        ("small.npy", r"small.npy: expected images of shape (3, 12, 12) as in training, got (3, 11, 12)"),
        ("none.npy", "none.npy cannot be read: No such file"),
        ("none", "none cannot be read: No such file"),
    ):
        capsys.readouterr()
        assert main([*predict, path]) == 2
        assert message in capsys.readouterr().err


@linux
@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    peaks = []
    for number in (50, 4000):  # 10 MB and 800 MB
        root = sparse(tmp_path / str(number), (number, 1, 500, 400))
        options = [*FIT, "--trainer.max_epochs", "1", "--data.root", str(root), "--runs_dir", str(tmp_path / "runs")]
        options += ["--data.eval_batch_size", "16", "--data.batch_size", "16"]
        done = subprocess.Popen([sys.executable, "-m", "litnets", "fit", *options])
        peak = 0
        while done.poll() is None:
            if "RssAnon" in (text := Path(f"/proc/{done.pid}/status").read_text()):
                peak = max(peak, int(text.partition("RssAnon:")[2].split()[0]) // 1024)
            time.sleep(0.02)
        assert done.returncode == 0
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 400, peaks  # half of what is more; in one run of four some 200 MB come and go
