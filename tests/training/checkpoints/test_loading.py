import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from litnets.__main__ import main
from litnets.errors import InputError
from litnets.nets import MLP
from litnets.runs.folder import Run
from litnets.training.checkpoints.loading import check_fits, load_checkpoint, usable_checkpoint
from tests.conftest import CONFIGS
from tests.helpers.tiny_series import write_ett
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import tiny_names
from tests.training.resume.test_save_on_interrupt import fit, the_run


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "good.ckpt"
    content = {"state_dict": MLP(4, 3, [5]).state_dict(), "epoch": 2, "hyper_parameters": {"lr": 0.1, "sizes": [5]}}
    torch.save(content, path)
    return path


class Touch:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def load_error(path):
    with pytest.raises(InputError) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_valid_checkpoint(checkpoint):
    content = load_checkpoint(checkpoint)
    assert content["epoch"] == 2
    assert content["hyper_parameters"] == {"lr": 0.1, "sizes": [5]}
    assert {name: tensor.shape for name, tensor in content["state_dict"].items()} == {
        "layers.1.weight": (5, 4),
        "layers.1.bias": (5,),
        "layers.3.weight": (3, 5),
        "layers.3.bias": (3,),
    }


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint(checkpoint, fraction):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(fraction * len(content))])
    assert "truncated" in load_error(checkpoint)


# These bytes overwrite part of the pickle inside the file; torch.load raises a different exception for each.
@pytest.mark.parametrize(
    "garbage",
    [b"\x00", b"\xff", b"}", b"\x85", b"R", b"u", b"0", b"K", b"\x80\x02.", b"J", b"X\xff\xff\xff\x7f", b"h\x77"],
)
@pytest.mark.parametrize("at", [2, 3, 30, 90])
def test_a_checkpoint_with_changed_bytes_is_refused(checkpoint, garbage, at):
    content = checkpoint.read_bytes()
    start = content.index(b"\x80\x02}") + at
    checkpoint.write_bytes(content[:start] + garbage * 20 + content[start + 20 * len(garbage) :])
    assert "damaged" in load_error(checkpoint)


@pytest.mark.parametrize(
    "content",
    [b"data:\n  class_path: Digits\n", b"", b"# a comment\n", b"PK\x03\x04", b"\x80\x05.", b"\x89PNG\r\n\x1a\n"],
)
def test_a_file_of_another_type(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert "another kind of file" in load_error(path)


def test_a_missing_file_or_a_folder(tmp_path):
    assert "no such file" in load_error(tmp_path / "none.ckpt")
    assert "a folder, not a file" in load_error(tmp_path)


def test_an_unreadable_file(checkpoint, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("no")

    monkeypatch.setattr(torch, "load", refuse)
    assert "cannot be read" in load_error(checkpoint)


@pytest.mark.parametrize("content", [{"weight": torch.ones(2)}, [1, 2], torch.ones(2)])
def test_a_pytorch_file_without_a_lightning_checkpoint(tmp_path, content):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert "not a Lightning checkpoint" in load_error(path)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_file_is_not_executed(tmp_path, save):
    path, touched = tmp_path / "evil.ckpt", tmp_path / "touched"
    save({"state_dict": {}, "extra": Touch(touched)}, path)
    load_error(path)
    assert not touched.exists()


def mismatch_error(checkpoint, model):
    with pytest.raises(InputError) as error:
        check_fits(checkpoint, load_checkpoint(checkpoint), model)
    return str(error.value)


def test_matching_weights(checkpoint):
    content = load_checkpoint(checkpoint)
    assert check_fits(checkpoint, content, MLP(4, 3, [5])) is None


def test_mismatched_weights_are_reported(checkpoint):
    prefix = f"checkpoint {checkpoint} does not fit MLP"
    assert mismatch_error(checkpoint, MLP(4, 3, [6])) == (
        f"{prefix}: layers.1.weight is (5, 4) in the checkpoint, (6, 4) in the model"
    )
    assert mismatch_error(checkpoint, MLP(4, 3, [5, 5])).startswith(f"{prefix}: layers.3.weight is (3, 5)")
    assert mismatch_error(checkpoint, MLP(4, 3, [5], dropout=0.1)) == f"{prefix}: it has no layers.4.weight"
    assert (
        mismatch_error(checkpoint, nn.Module())
        == f"checkpoint {checkpoint} does not fit Module, which has no layers.1.weight"
    )


def test_a_flipped_bit_in_the_weights_is_detected(checkpoint):
    content = bytearray(checkpoint.read_bytes())
    at = content.index(load_checkpoint(checkpoint)["state_dict"]["layers.1.weight"].numpy().tobytes())
    content[at + 2] ^= 1
    checkpoint.write_bytes(content)
    assert torch.load(checkpoint, weights_only=True), "torch detects this now, so the check is no longer needed"
    assert "damaged" in load_error(checkpoint)


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    for step, path in ((30, run.last), (10, run.folder / "epoch.ckpt"), (20, run.best)):
        torch.save({"state_dict": MLP(4, 3, [5]).state_dict(), "global_step": step}, path)
    return run


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_complete_checkpoint_is_used(run, capsys):
    assert usable_checkpoint(run, run.last) == run.last
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "damage", [truncate, lambda path: path.write_bytes(b""), lambda path: path.write_text("lr: 1")]
)
def test_the_newest_complete_checkpoint_is_the_fallback(run, damage, capsys):
    damage(run.last)
    assert usable_checkpoint(run, run.last) == run.best
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"litnets: checkpoint {run.last}: not a checkpoint that loads safely; "
        "it is truncated, damaged, or another kind of file",
        f"litnets: {run.best} is used instead (step 20)",
    ]
    truncate(run.best)
    assert usable_checkpoint(run, run.last) == run.folder / "epoch.ckpt"


def test_only_the_first_process_reports_the_fallback(run, capsys, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    truncate(run.last)
    assert usable_checkpoint(run, run.last) == run.best
    assert capsys.readouterr().err == ""


def test_its_name_does_not_control_the_terminal(run, capsys):
    truncate(run.last)
    run.best.rename(run.folder / "\x1b[2J.ckpt")
    usable_checkpoint(run, run.last)
    assert "\\x1b[2J.ckpt is used instead (step 20)" in capsys.readouterr().err


def test_no_complete_checkpoint_is_left(run):
    for path in run.checkpoints():
        truncate(path)
    with pytest.raises(InputError, match=r"last.ckpt: not a checkpoint .* has no other complete checkpoint"):
        usable_checkpoint(run, run.last)


def test_there_is_no_fallback_for_a_missing_checkpoint(run):
    run.last.unlink()
    with pytest.raises(InputError, match="no such file"):
        usable_checkpoint(run, run.last)


def test_commands_fall_back_to_the_newest_complete_checkpoint(capsys):
    assert fit("--test_after_fit", "false") == 0
    run = the_run()
    truncate(run.last)
    capsys.readouterr()
    assert main(["validate", "--config", str(run.config), "--ckpt_path", "last"]) == 0
    captured = capsys.readouterr()
    assert f"{run.best} is used instead" in captured.err
    assert f"validate, {run.best}" in captured.out
    assert main(["test", "--config", str(run.config), "--ckpt_path", str(run.last)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "weights_only" not in err


# This script checks that checkpoints hold plain data only. It imports neither litnets nor Lightning.
CHECK_PLAIN_DATA = """
import sys, torch
PLAIN = (bool, int, float, str, type(None), torch.Tensor)

def check(value, where):
    if isinstance(value, dict):
        for key, inner in value.items():
            check(key, where)
            check(inner, f"{where}.{key}")
    elif type(value) in (list, tuple, set):
        for inner in value:
            check(inner, where)
    else:
        assert type(value) in PLAIN, f"{where}: {type(value)}"

for path in sys.argv[1:]:
    content = torch.load(path, weights_only=True, map_location="cpu")
    check(content, path)
    assert content["state_dict"] and content["optimizer_states"] and content["hyper_parameters"]
assert not {"litnets", "lightning", "pytorch_lightning", "torchmetrics"} & set(sys.modules)
print(len(sys.argv) - 1)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_checkpoints_of_every_task_hold_plain_data(tmp_path, monkeypatch):
    tiny = tmp_path / "tiny"
    write_ett(tiny, monkeypatch)
    tiny_names(tiny, monkeypatch)
    write_csv(tmp_path / "shop.csv")
    short = ["--trainer.max_epochs", "1", "--test_after_fit", "false", "--trainer.logger", "false"]
    table = ["--data", "TableCSV", "--data.path", "shop.csv", "--data.target"]
    for options in (
        ["--model", "MLPClassifier", *table, "bought", "--model.lr_scheduler", "OneCycleLR", "--model.lr", "0.01"],
        ["--model", "MLPRegressor", *table, "price", "--model.lr_scheduler", "ReduceLROnPlateau"],
        ["--config", str(CONFIGS / "etth1_linear.yaml"), "--data.data_dir", str(tiny)],
        ["--config", str(CONFIGS / "names_rnn.yaml"), "--data.data_dir", str(tiny)],
    ):
        assert main(["fit", *options, *short]) == 0
    paths = [str(path) for path in sorted(tmp_path.glob("checkpoints/*/*/*.ckpt"))]
    assert len(paths) == 2 * 4
    done = subprocess.run(
        [sys.executable, "-c", CHECK_PLAIN_DATA, *paths],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONSAFEPATH": "1"},
    )
    assert done.stderr == ""
    assert done.stdout == "8\n"
