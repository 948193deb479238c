import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from litnets.data import CIFAR10
from litnets.data.images import cifar10 as module
from litnets.errors import InputError
from tests.helpers.tiny_images import (
    FOLDER,
    cifar10_names,
    learnable_color_images,
    pack_cifar10,
    python2_pickle,
    write_cifar10,
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cifar10(tmp_path, monkeypatch)
    monkeypatch.setattr(datasets.CIFAR10, "url", "file:///nowhere")
    return tmp_path


def ready(folder: Path, **arguments: Any) -> CIFAR10:
    data = CIFAR10(str(folder), **arguments)
    data.prepare_data()
    data.setup()
    return data


def write_with_checksum(monkeypatch: pytest.MonkeyPatch, path: Path, content: bytes) -> None:
    """Write a file and replace torchvision's checksum by that of the content."""
    path.write_bytes(content)
    for part in ("train_list", "test_list"):
        patched = [
            [name, hashlib.md5(content).hexdigest() if name == path.name else md5]
            for name, md5 in getattr(datasets.CIFAR10, part)
        ]
        monkeypatch.setattr(datasets.CIFAR10, part, patched)


def test_splits_match_the_files(files: Path) -> None:
    splits = ready(files).splits
    assert [len(splits[name]) for name in ("train", "val", "test")] == [108, 12, 60]
    assert sorted(splits["train"].indices.tolist() + splits["val"].indices.tolist()) == list(range(120))
    images, labels = (
        np.concatenate(x) for x in zip(*(learnable_color_images(24, seed) for seed in range(5)), strict=True)
    )
    assert (splits["train"].inputs.numpy() == images).all()
    assert (splits["train"].targets.numpy() == labels).all()
    images, labels = learnable_color_images(60, 5)
    inputs, targets = splits["test"][torch.arange(60)]
    assert (inputs.numpy() == images).all()
    assert (targets.numpy() == labels).all()


def test_files_are_read_as_by_pickle(files: Path) -> None:
    """The files that the tests write can be read with pickle, as documented on the dataset's page."""
    content = (files / FOLDER / "test_batch").read_bytes()
    reference = pickle.loads(content, encoding="bytes")
    test = ready(files).splits["test"]
    assert (test.inputs.flatten(1).numpy() == reference[b"data"]).all()
    assert test.targets.tolist() == reference[b"labels"]


@pytest.mark.parametrize("arguments", [{"val_size": 50}, {"num_folds": 4, "fold": 2}])
def test_the_official_test_split_does_not_change(files: Path, arguments: dict[str, int]) -> None:
    inputs, _ = ready(files, **arguments).splits["test"][torch.arange(60)]
    assert (inputs.numpy() == learnable_color_images(60, 5)[0]).all()


def test_folds_partition_training_and_validation(files: Path) -> None:
    folds = [ready(files, num_folds=5, fold=fold).splits["val"].indices for fold in range(5)]
    assert sorted(torch.cat(folds).tolist()) == list(range(120))


def test_statistics_use_only_the_training_split(files: Path) -> None:
    data = ready(files, val_size=60)
    train = data.splits["train"].inputs[data.splits["train"].indices].double()
    assert data.mean == pytest.approx(train.mean((0, 2, 3)).tolist(), rel=1e-9)
    assert data.std == pytest.approx(train.std((0, 2, 3), correction=0).tolist(), rel=1e-9)


def test_it_is_downloaded_extracted_and_read(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ready(files).splits
    pack_cifar10(files, tmp_path / "away.tar.gz", monkeypatch)
    new = tmp_path / "new"
    data = ready(new).splits
    assert torch.equal(data["train"].inputs, before["train"].inputs)
    assert {path.name for path in (new / FOLDER).iterdir()} - {".extract.lock"} == set(cifar10_names())
    times = {path: path.stat().st_mtime_ns for path in new.rglob("*")}
    (tmp_path / "away.tar.gz").unlink()
    ready(new)  # the second time, nothing is downloaded or written
    assert {path: path.stat().st_mtime_ns for path in new.rglob("*")} == times


def test_only_expected_files_are_extracted(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "away.tar.gz", "w:gz") as tar:
        for name in ("../evil", f"{FOLDER}/../../evil", "/evil", f"{FOLDER}/more"):
            tar.add(tmp_path / "evil", name)
        tar.add(files / FOLDER, FOLDER)
    monkeypatch.setattr(datasets.CIFAR10, "url", (tmp_path / "away.tar.gz").as_uri())
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5((tmp_path / "away.tar.gz").read_bytes()).hexdigest())
    ready(tmp_path / "a" / "b")
    written = {str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*") if path.is_file()}
    expected = {f"b/{FOLDER}/{name}" for name in cifar10_names()} | {"b/cifar-10-python.tar.gz"}
    assert {path for path in written if not path.endswith(".lock")} == expected
    assert not Path("/evil").exists()


def link(kind: bytes, target: str) -> Any:
    def add(tar: tarfile.TarFile, name: str) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)

    return add


def bomb(tar: tarfile.TarFile, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = module.LARGEST_FILE + 1
    tar.addfile(member, io.BytesIO(bytes(member.size)))


@pytest.mark.parametrize(
    "member",
    [
        link(tarfile.SYMTYPE, "/etc/passwd"),
        link(tarfile.SYMTYPE, "../../outside"),
        link(tarfile.LNKTYPE, "/etc/passwd"),
        link(tarfile.CHRTYPE, ""),
        link(tarfile.FIFOTYPE, ""),
        link(tarfile.DIRTYPE, ""),
        bomb,
    ],
    ids=["symlink", "symlink up", "hard link", "device", "FIFO", "folder", "bomb"],
)
def test_a_member_that_is_not_a_file_or_too_large_is_refused(
    member: Any, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").write_text("secret")
    with tarfile.open(tmp_path / "away.tar.gz", "w:gz") as tar:
        member(tar, f"{FOLDER}/data_batch_1")
        for name in cifar10_names()[1:]:
            tar.add(files / FOLDER / name, f"{FOLDER}/{name}")
    monkeypatch.setattr(module, "LARGEST_FILE", 200_000)
    monkeypatch.setattr(datasets.CIFAR10, "url", (tmp_path / "away.tar.gz").as_uri())
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5((tmp_path / "away.tar.gz").read_bytes()).hexdigest())
    with pytest.raises(InputError, match=r"data_batch_1|cannot be extracted"):
        ready(tmp_path / "new")
    assert not (tmp_path / "new" / FOLDER / "data_batch_1").exists()


def test_an_existing_archive_is_verified_before_it_is_opened(files: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "cifar-10-python.tar.gz").write_bytes(b"anything")
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz is corrupted: its MD5 is \w+, expected"):
        ready(new)


def test_a_link_where_a_file_is_extracted_is_not_followed(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_cifar10(files, tmp_path / "away.tar.gz", monkeypatch)
    (tmp_path / "new" / FOLDER).mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "new" / FOLDER / ".data_batch_1.part").symlink_to(tmp_path / "mine")
    ready(tmp_path / "new")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_fifo_instead_of_a_file_is_refused(files: Path) -> None:
    (files / FOLDER / "data_batch_1").unlink()
    os.mkfifo(files / FOLDER / "data_batch_1")
    with pytest.raises(InputError, match="data_batch_1 is a FIFO"):
        ready(files)


def test_an_archive_without_the_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "away.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "x", "x")
    monkeypatch.setattr(datasets.CIFAR10, "url", (tmp_path / "away.tar.gz").as_uri())
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5((tmp_path / "away.tar.gz").read_bytes()).hexdigest())
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz cannot be extracted.*data_batch_1"):
        ready(tmp_path / "new")


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"", lambda content: b"<html>"])
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_corrupted_file_is_refused(files: Path, name: str, damage: Any) -> None:
    path = files / FOLDER / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"is corrupted: its MD5 is \w+, expected \w+; delete it") as caught:
        ready(files)
    assert str(path) in str(caught.value)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Evil(), 2), r"it uses (builtins|__builtin__)\.print, which is not part of an array"),
        (b"cnumpy\nload\n.", r"it uses numpy\.load"),
        (b"\x80\x02}.", "cannot be read"),
        (b"", "cannot be read"),
        (b"\x80\x02}q", "cannot be read"),
        (pickle.dumps({"data": [Evil()]}, 2), r"it uses (builtins|__builtin__)\.print"),
        (b"cos\nsystem\n(S'echo executed'\ntR.", r"it uses os\.system"),
        (b"cbuiltins\neval\n(Vprint('executed')\ntR.", r"it uses builtins\.eval"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", r"it uses numpy\.dtype\.__init__"),
        (b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftR.", "cannot be read"),  # 4 EB
        (b"\x80\x02cnumpy\nndarray\n}X\x04\0\0\0argsK\x01sb.", "cannot be read"),  # BUILD on the class
        (b"\x80\x02]r\xff\xff\xff\x7f.", "cannot be read"),  # the C unpickler makes a table of 2**31 entries
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", "cannot be read"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "cannot be read"),
        (b"\x80\x02T\xff\xff\xff\x7f.", "cannot be read"),
        (
            python2_pickle({b"labels": [1, 2], b"data": np.zeros((3, 3072), np.uint8)}),
            r"is corrupted: images of shape \(3, 3072\) and 2 labels",
        ),
        (
            python2_pickle({b"labels": [1], b"data": np.zeros((1, 3072), np.int64)}),
            "data is not a 2D array of uint8",
        ),
    ],
)
def test_a_file_that_is_not_a_batch_is_refused_and_runs_no_code(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    write_with_checksum(monkeypatch, files / FOLDER / "data_batch_2", content)
    with pytest.raises(InputError, match=message) as caught:
        ready(files)
    assert str(files / FOLDER / "data_batch_2") in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_a_missing_file_that_cannot_be_downloaded_is_reported(files: Path) -> None:
    (files / FOLDER / "data_batch_5").unlink()
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz does not exist and could not be downloaded"):
        ready(files)
    with pytest.raises(InputError, match=r"data_batch_5 cannot be read"):
        CIFAR10(str(files)).setup()


def test_the_classes_match_torchvision(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = python2_pickle({b"label_names": [name.encode() for name in CIFAR10.class_names]})
    (files / FOLDER / "batches.meta").write_bytes(meta)
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", hashlib.md5(meta).hexdigest())
    reference = datasets.CIFAR10(str(files), train=False)
    assert list(reference.classes) == CIFAR10.class_names
    assert (reference.data.transpose(0, 3, 1, 2) == ready(files).splits["test"].inputs.numpy()).all()


@pytest.mark.slow
def test_the_real_data(real_data: Path) -> None:
    if not (real_data / FOLDER).exists():
        pytest.skip(f"LITNETS_TEST_DATA={real_data} has no {FOLDER}")
    data = ready(real_data)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [45000, 5000, 10000]
    # The well-known values of all 50,000 training images.
    assert [mean / 255 for mean in data.mean] == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
    assert [std / 255 for std in data.std] == pytest.approx([0.2470, 0.2435, 0.2616], abs=2e-3)
    assert data.splits["test"].targets.bincount().tolist() == [1000] * 10
