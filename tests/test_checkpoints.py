import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from litnets.checkpoints import check_fits, load_checkpoint
from litnets.errors import InputError
from litnets.nets import MLP


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "good.ckpt"
    content = {"state_dict": MLP(4, 3, [5]).state_dict(), "epoch": 2, "hyper_parameters": {"lr": 0.1, "sizes": [5]}}
    torch.save(content, path)
    return path


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refused(path):
    with pytest.raises(InputError) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_good_one(checkpoint):
    content = load_checkpoint(checkpoint)
    assert content["epoch"] == 2
    assert content["hyper_parameters"] == {"lr": 0.1, "sizes": [5]}
    assert {name: tensor.shape for name, tensor in content["state_dict"].items()} == {
        "layers.1.weight": (5, 4),
        "layers.1.bias": (5,),
        "layers.3.weight": (3, 5),
        "layers.3.bias": (3,),
    }


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_one(checkpoint, share):
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: int(share * len(whole))])
    assert "truncated" in refused(checkpoint)


# From here on the bytes of the pickle inside the file are overwritten; torch.load answers each with another exception.
@pytest.mark.parametrize(
    "garbage",
    [b"\x00", b"\xff", b"}", b"\x85", b"R", b"u", b"0", b"K", b"\x80\x02.", b"J", b"X\xff\xff\xff\x7f", b"h\x77"],
)
@pytest.mark.parametrize("at", [2, 3, 30, 90])
def test_a_garbled_one(checkpoint, garbage, at):
    whole = checkpoint.read_bytes()
    start = whole.index(b"\x80\x02}") + at
    checkpoint.write_bytes(whole[:start] + garbage * 20 + whole[start + 20 * len(garbage) :])
    assert "garbled" in refused(checkpoint)


@pytest.mark.parametrize(
    "content",
    [b"data:\n  class_path: Digits\n", b"", b"# a comment\n", b"PK\x03\x04", b"\x80\x05.", b"\x89PNG\r\n\x1a\n"],
)
def test_another_file(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert "another file" in refused(path)


def test_no_file(tmp_path):
    assert "no such file" in refused(tmp_path / "none.ckpt")
    assert "a folder, not a file" in refused(tmp_path)


def test_a_file_that_may_not_be_read(checkpoint, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("no")

    monkeypatch.setattr(torch, "load", refuse)
    assert "cannot be read" in refused(checkpoint)


@pytest.mark.parametrize("content", [{"weight": torch.ones(2)}, [1, 2], torch.ones(2)])
def test_a_file_of_pytorch_that_is_none_of_lightning(tmp_path, content):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert "no Lightning checkpoint" in refused(path)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_file_is_not_run(tmp_path, save):
    path, touched = tmp_path / "evil.ckpt", tmp_path / "touched"
    save({"state_dict": {}, "extra": Touch(touched)}, path)
    refused(path)
    assert not touched.exists()


def misfit(checkpoint, model):
    with pytest.raises(InputError) as error:
        check_fits(checkpoint, load_checkpoint(checkpoint), model)
    return str(error.value)


def test_weights_that_fit(checkpoint):
    content = load_checkpoint(checkpoint)
    assert check_fits(checkpoint, content, MLP(4, 3, [5])) is None


def test_weights_that_do_not_fit_are_named(checkpoint):
    where = f"checkpoint {checkpoint} does not fit MLP"
    assert misfit(checkpoint, MLP(4, 3, [6])) == (
        f"{where}: layers.1.weight is (5, 4) in the checkpoint, (6, 4) in the model"
    )
    assert misfit(checkpoint, MLP(4, 3, [5, 5])).startswith(f"{where}: layers.3.weight is (3, 5)")
    assert misfit(checkpoint, MLP(4, 3, [5], dropout=0.1)) == f"{where}: it has no layers.4.weight"
    assert (
        misfit(checkpoint, nn.Module()) == f"checkpoint {checkpoint} does not fit Module, which has no layers.1.weight"
    )
