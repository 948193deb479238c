import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from litnets.data import MNIST, FashionMNIST
from litnets.errors import InputError
from tests.helpers.tiny import idx, write_mnist

TRAIN, TEST = 120, 40
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.fixture(params=[MNIST, FashionMNIST], ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[MNIST]:
    """Return the class, with tiny files in tmp_path and no mirrors."""
    chosen: type[MNIST] = request.param
    checksums = write_mnist(tmp_path, chosen.__name__, TRAIN, TEST)
    monkeypatch.setattr(chosen.source, "resources", list(checksums.items()))
    monkeypatch.setattr(chosen.source, "mirrors", [])
    return chosen


def ready(cls: type[MNIST], folder: Path, **arguments: float | None) -> MNIST:
    data = cls(data_dir=str(folder), **arguments)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def raw(cls: type[MNIST], folder: Path) -> Path:
    return folder / cls.__name__ / "raw"


def values(path: Path, header: int) -> bytes:
    return gzip.decompress(path.read_bytes())[header:]


def test_splits_match_the_files(cls: type[MNIST], tmp_path: Path) -> None:
    splits = ready(cls, tmp_path).splits
    assert [len(splits[name]) for name in ("train", "val", "test")] == [108, 12, TEST]
    both = splits["train"].indices.tolist() + splits["val"].indices.tolist()
    assert sorted(both) == list(range(TRAIN))
    assert splits["train"].inputs.numpy().tobytes() == values(raw(cls, tmp_path) / IMAGES, 16)
    assert splits["train"].targets.numpy().tobytes() == values(raw(cls, tmp_path) / LABELS, 8)


@pytest.mark.parametrize("arguments", [{}, {"val_size": 50, "split_seed": 3}, {"num_folds": 4, "fold": 2}])
def test_the_official_test_split_does_not_change(cls: type[MNIST], tmp_path: Path, arguments: dict[str, int]) -> None:
    test = ready(cls, tmp_path, **arguments).splits["test"]
    inputs, targets = test[torch.arange(len(test))]
    assert inputs.numpy().tobytes() == values(raw(cls, tmp_path) / IMAGES.replace("train", "t10k"), 16)
    assert targets.numpy().tobytes() == values(raw(cls, tmp_path) / LABELS.replace("train", "t10k"), 8)


def test_the_data_match_torchvision(cls: type[MNIST], tmp_path: Path) -> None:
    splits = ready(cls, tmp_path).splits
    for path in raw(cls, tmp_path).glob("*.gz"):  # torchvision reads them uncompressed only
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    reference = cls.source(str(tmp_path), train=False)
    assert torch.equal(splits["test"].inputs[:, 0], reference.data)
    assert torch.equal(splits["test"].targets, reference.targets)
    assert cls.class_names == [name.split(" - ")[0] for name in reference.classes]


def test_the_validation_split_is_stratified_and_sized(cls: type[MNIST], tmp_path: Path) -> None:
    val = ready(cls, tmp_path, val_size=30).splits["val"]
    assert val.targets[val.indices].bincount().tolist() == [3] * 10


def test_folds_partition_training_and_validation(cls: type[MNIST], tmp_path: Path) -> None:
    folds = [ready(cls, tmp_path, num_folds=5, fold=fold).splits for fold in range(5)]
    held_out = torch.cat([splits["val"].indices for splits in folds])
    assert sorted(held_out.tolist()) == list(range(TRAIN))
    for splits in folds:
        assert sorted(torch.cat([splits["train"].indices, splits["val"].indices]).tolist()) == list(range(TRAIN))


@pytest.mark.parametrize("arguments", [{"val_size": TRAIN}, {"val_size": -1}, {"num_folds": 1}])
def test_invalid_splits_are_refused(cls: type[MNIST], tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"val_size|num_folds"):
        ready(cls, tmp_path, **arguments)


def test_statistics_use_only_the_training_split(cls: type[MNIST], tmp_path: Path) -> None:
    data = ready(cls, tmp_path, val_size=60)
    pixels = np.frombuffer(values(raw(cls, tmp_path) / IMAGES, 16), np.uint8).reshape(TRAIN, -1)
    train = pixels[data.splits["train"].indices.numpy()]
    assert data.mean == pytest.approx([train.mean()], rel=1e-9)
    assert data.std == pytest.approx([train.std()], rel=1e-9)


# Files


def extract(folder: Path) -> None:
    """Replace the compressed files by uncompressed ones."""
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


def test_uncompressed_files_are_read(cls: type[MNIST], tmp_path: Path) -> None:
    compressed = ready(cls, tmp_path).splits["train"]
    extract(raw(cls, tmp_path))
    assert torch.equal(ready(cls, tmp_path).splits["train"].inputs, compressed.inputs)


@pytest.mark.parametrize("compressed", [True, False])
def test_files_in_a_read_only_folder_are_read_and_nothing_is_written(
    cls: type[MNIST], tmp_path: Path, compressed: bool
) -> None:
    folder = raw(cls, tmp_path)
    if not compressed:
        extract(folder)
    before = sorted(path.name for path in folder.iterdir()), folder.stat().st_mtime_ns
    folder.chmod(0o555)
    try:
        assert len(ready(cls, tmp_path).splits["test"]) == TEST
    finally:
        folder.chmod(0o755)
    # For root, the folder is not read-only, but a temporary file would change its modification time.
    assert (sorted(path.name for path in folder.iterdir()), folder.stat().st_mtime_ns) == before


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def garbage(content: bytes) -> bytes:
    return b"<html>not found</html>"


def empty(content: bytes) -> bytes:
    return b""


def another(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content) + b"x")


@pytest.mark.parametrize("name", [IMAGES, LABELS, "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("damage", [truncate, garbage, empty, another])
def test_a_corrupted_file_is_refused(
    cls: type[MNIST], tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    path = raw(cls, tmp_path) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"is corrupted: its MD5 is \w+, expected \w+; delete it") as caught:
        ready(cls, tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", [truncate, garbage, empty])
def test_a_corrupted_file_with_a_matching_checksum_is_refused(
    cls: type[MNIST], tmp_path: Path, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = raw(cls, tmp_path) / IMAGES
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setattr("litnets.data.images.mnist.check_md5", lambda path, md5: None)
    with pytest.raises(InputError, match=r"cannot be read|is corrupted: its 0 bytes") as caught:
        ready(cls, tmp_path)
    assert str(path) in str(caught.value)


def test_invalid_deflate_data_are_refused(cls: type[MNIST], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = raw(cls, tmp_path) / LABELS
    path.write_bytes(path.read_bytes()[:10] + b"\xff" * 50)
    with pytest.raises(zlib.error):
        gzip.decompress(path.read_bytes())
    monkeypatch.setattr("litnets.data.images.mnist.check_md5", lambda path, md5: None)
    with pytest.raises(InputError, match="cannot be read") as caught:
        ready(cls, tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"",
        lambda content: content[:3],
        lambda content: content[:4],
        lambda content: content[:10],
        lambda content: content[:4] + b"\xff" * 12 + content[16:],  # more bytes than there are
        lambda content: b"\0\0\x0d" + content[3:],  # of floats
        lambda content: b"<html>not found</html>",
    ],
    ids=["short", "long", "empty", "3 bytes", "4 bytes", "half a header", "immense", "another type", "garbage"],
)
def test_a_corrupted_uncompressed_file_is_refused(
    cls: type[MNIST], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    extract(raw(cls, tmp_path))
    path = (raw(cls, tmp_path) / IMAGES).with_suffix("")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        InputError, match=r"is corrupted: its \d+ bytes are not one complete IDX file; delete"
    ) as caught:
        ready(cls, tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("shape", [(TRAIN,), (TRAIN, 28), (TRAIN, 14, 56), (TRAIN - 1, 28, 28)])
def test_uncompressed_files_that_do_not_match_are_refused(
    cls: type[MNIST], tmp_path: Path, shape: tuple[int, ...]
) -> None:
    extract(raw(cls, tmp_path))
    (raw(cls, tmp_path) / IMAGES).with_suffix("").write_bytes(idx(np.zeros(shape, np.uint8)))
    with pytest.raises(InputError, match="do not match") as caught:
        ready(cls, tmp_path)
    assert str(raw(cls, tmp_path)) in str(caught.value)


def test_a_missing_file_that_cannot_be_downloaded_is_reported(cls: type[MNIST], tmp_path: Path) -> None:
    path = raw(cls, tmp_path) / IMAGES
    path.unlink()
    with pytest.raises(InputError, match=r"could not be downloaded(.|\n)*data_dir") as caught:
        ready(cls, tmp_path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_reported_without_prepare_data(cls: type[MNIST], tmp_path: Path) -> None:
    path = raw(cls, tmp_path) / LABELS
    path.unlink()
    with pytest.raises(InputError, match="cannot be read") as caught:
        cls(data_dir=str(tmp_path)).setup()
    assert str(path.with_suffix("")) in str(caught.value)


def test_only_missing_files_are_downloaded(cls: type[MNIST], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = tmp_path / "away"
    raw(cls, tmp_path).rename(away)
    raw(cls, tmp_path).mkdir()
    (away / IMAGES).rename(raw(cls, tmp_path) / IMAGES)
    (raw(cls, tmp_path) / LABELS).with_suffix("").write_bytes(gzip.decompress((away / LABELS).read_bytes()))
    (away / LABELS).unlink()
    monkeypatch.setattr(cls.source, "mirrors", [away.as_uri() + "/"])
    assert len(ready(cls, tmp_path).splits["train"]) == 108
    fetched = {path.name for path in raw(cls, tmp_path).iterdir()}
    assert fetched == {IMAGES, LABELS.removesuffix(".gz"), "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}


# The real files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("real", "mean", "std"),
    # The well-known values of all 60,000 training images; those of a random 90% are close.
    [(MNIST, 0.1307, 0.3081), (FashionMNIST, 0.2860, 0.3530)],
)
def test_the_real_data(real: type[MNIST], mean: float, std: float, real_data: Path) -> None:
    data = ready(real, real_data)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [54000, 6000, 10000]
    assert data.mean[0] / 255 == pytest.approx(mean, abs=1e-3)
    assert data.std[0] / 255 == pytest.approx(std, abs=1e-3)
    test = data.splits["test"]
    assert test.inputs.numpy().tobytes() == values(raw(real, real_data) / "t10k-images-idx3-ubyte.gz", 16)
    assert test.targets.bincount().tolist() == (
        [1000] * 10 if real is FashionMNIST else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    fractions = np.array(data.class_counts) / data.splits["train"].targets.bincount().numpy()
    assert np.abs(fractions - 0.9).max() < 1e-3
