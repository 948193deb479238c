"""Saving checkpoints to full or read-only disks, and while the process is killed."""

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from litnets.__main__ import main
from litnets.errors import InputError
from litnets.training.checkpoints.atomic_io import AtomicCheckpointIO, SaveError
from litnets.training.checkpoints.loading import load_checkpoint
from tests.helpers.killed_saves import POINTS, kill_during_save
from tests.training.resume.test_save_on_interrupt import TWO_EPOCHS, fit, the_run

OLD = {"state_dict": {"w": torch.zeros(10)}, "global_step": 1}
NEW = {"state_dict": {"w": torch.ones(1_000_000)}, "global_step": 2}  # 4 MB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system")
    threads_before = threading.enumerate()
    yield folder
    for thread in threading.enumerate():  # TensorBoard's thread fails on the full disk; wait until it has
        if thread not in threads_before:
            thread.join(5)
    subprocess.run(["umount", str(folder)], check=True)


def failed_save(path: Path) -> str:
    """Return the error message when NEW cannot replace OLD. OLD must be intact, and no other file left behind."""
    with pytest.raises(SaveError) as error:
        AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert load_checkpoint(path)["global_step"] == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"checkpoint {path}: could not be saved: ")
    assert str(error.value).endswith("; the previous last.ckpt is unchanged")
    return str(error.value)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)
    return path


def test_save_and_load(old: Path) -> None:
    io = AtomicCheckpointIO()
    io.save_checkpoint(NEW, str(old))
    content = io.load_checkpoint(str(old))
    assert content["global_step"] == 2
    assert torch.equal(content["state_dict"]["w"], NEW["state_dict"]["w"])  # type: ignore[index]
    io.save_checkpoint(OLD, old)
    assert content["state_dict"]["w"].sum() == 1_000_000, "the loaded checkpoint changed with the file"
    umask = os.umask(0)
    os.umask(umask)
    assert old.stat().st_mode & 0o777 == 0o666 & ~umask, (
        "the permissions differ from those of other files in the run folder"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of open files in /proc")
def test_the_file_is_synced_before_it_is_renamed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (order.append(str(Path(f"/proc/self/fd/{file}").readlink())), sync(file))
    )
    monkeypatch.setattr(Path, "replace", lambda self, target: (order.append("rename"), replace(self, target)))
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    temporary, *rest = order
    assert re.fullmatch(rf"{old.parent}/\.last\.ckpt\.[0-9a-f]{{8}}\.part", temporary)
    assert rest == ["rename", str(old.parent)]


def test_a_full_disk(small_disk: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(OLD, small_disk / "last.ckpt")
    assert os.strerror(errno.ENOSPC) in failed_save(small_disk / "last.ckpt")


def test_a_disk_that_is_full_on_sync(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert os.strerror(errno.ENOSPC) in failed_save(old)


def test_a_file_above_the_size_limit(old: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        assert os.strerror(errno.EFBIG) in failed_save(old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_read_only_file_system(small_disk: Path) -> None:
    path = small_disk / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert os.strerror(errno.EROFS) in failed_save(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user that permissions apply to")
def test_a_folder_without_write_permission(old: Path) -> None:
    old.parent.chmod(0o555)
    try:
        assert os.strerror(errno.EACCES) in failed_save(old)
    finally:
        old.parent.chmod(0o755)


def test_an_unpicklable_checkpoint_is_not_reported_as_a_disk_error(old: Path) -> None:
    with pytest.raises((AttributeError, TypeError, RuntimeError), match=r"pickle|local"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": lambda: 0}, old)
    assert load_checkpoint(old)["global_step"] == 1
    assert [p.name for p in old.parent.iterdir()] == ["last.ckpt"]


def test_stale_temporary_files_are_removed(old: Path) -> None:
    stale, unrelated = old.with_name(".best.ckpt.1.part"), old.with_name(".results.json.part")
    stale.touch()
    unrelated.touch()
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    assert not stale.exists()
    assert unrelated.exists()


def test_only_plain_data_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "code": Path}, path)
    with pytest.raises(InputError, match="not a checkpoint that loads safely"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_during_a_save_leaves_a_complete_checkpoint(point: str, old: Path) -> None:
    kill_during_save(NEW, old, point)
    saved = load_checkpoint(old)  # verifies the checksums
    expected = NEW if POINTS[point] else OLD
    assert saved["global_step"] == expected["global_step"]
    assert torch.equal(saved["state_dict"]["w"], expected["state_dict"]["w"])  # type: ignore[index]
    assert len(list(old.parent.glob(".*.part"))) == (0 if POINTS[point] else 1)
    AtomicCheckpointIO().save_checkpoint(OLD, old)
    assert [path.name for path in old.parent.iterdir()] == ["last.ckpt"], "the next save must remove the temporary file"


def test_best_and_last_are_separate_files() -> None:
    assert fit() == 0
    run = the_run()
    assert not run.last.is_symlink()
    assert run.last.stat().st_ino != run.best.stat().st_ino
    assert run.last.stat().st_nlink == run.best.stat().st_nlink == 1
    for path in (run.best, run.last):
        assert load_checkpoint(path)["state_dict"]


class CustomIO(TorchCheckpointIO):
    """A user-defined plugin."""


class RecordPlugins(Callback):
    """Record the checkpoint plugins of the trainers."""

    plugins: ClassVar[list[type]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.plugins.append(type(trainer.strategy.checkpoint_io))


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ([], AtomicCheckpointIO),
        (["--trainer.plugins", "lightning.pytorch.plugins.environments.LightningEnvironment"], AtomicCheckpointIO),
        (["--trainer.plugins", "tests.training.checkpoints.test_atomic_io.CustomIO"], CustomIO),
    ],
)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_every_trainer_uses_the_plugin(plugins: list[str], expected: type, command: str) -> None:
    RecordPlugins.plugins.clear()
    options = [
        "--trainer.fast_dev_run",
        "true",
        "--trainer.callbacks+",
        "tests.training.checkpoints.test_atomic_io.RecordPlugins",
    ]
    assert main([command, *TWO_EPOCHS, *options, *plugins]) == 0
    assert set(RecordPlugins.plugins) == {expected}


@pytest.mark.parametrize("logger", ["null", "false"])
def test_a_run_on_a_disk_that_fills_up(small_disk: Path, logger: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--runs_dir", str(small_disk), "--model.hidden_layer_sizes", "[400,400]", "--trainer.logger", logger]
    assert fit(*options, "--test_after_fit", "false") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert os.strerror(errno.ENOSPC) in lines[0]
    (best,) = small_disk.glob("*/*/best.ckpt")
    assert load_checkpoint(best)["global_step"] == 10
    assert not list(small_disk.glob("*/*/.*"))


# TensorBoard writes in a separate thread, which fails with its own traceback.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_logging_to_a_full_disk(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small_disk / "rest").write_bytes(bytes(3 * 2**20 - 2 * 4096))  # room for config.yaml and environment.json
    options = ["--trainer.enable_checkpointing", "false", "--trainer.log_every_n_steps", "1"]
    assert fit("--runs_dir", str(small_disk), "--trainer.logger", "null", *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "No space left on device" in lines[0]


@pytest.mark.parametrize("name", ["last.ckpt", ".last.ckpt.part", ".last.ckpt.{}.part", ".last.ckpt.00000000.part"])
def test_symlinks_are_not_followed(old: Path, name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link = old.with_name(name.format(os.getpid()))
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    assert victim.read_text() == "mine"
    assert load_checkpoint(old)["global_step"] == 2
    assert not old.is_symlink()


def test_a_folder_named_like_a_temporary_file_is_ignored(old: Path) -> None:
    old.with_name(".last.ckpt.0123abcd.part").mkdir()
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    assert load_checkpoint(old)["global_step"] == 2


@pytest.mark.parametrize("name", ["victim", "victim/notes.txt", "run/../victim/x.ckpt", "run/x.ckpt"])
def test_only_checkpoint_files_are_removed(old: Path, tmp_path: Path, name: str) -> None:
    """The path may come from an untrusted checkpoint: ModelCheckpoint removes paths that it restores from its state."""
    for folder in ("victim/x.ckpt", "run/x.ckpt"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "victim" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not removed, because it is not a checkpoint file"):
        AtomicCheckpointIO().remove_checkpoint(tmp_path / name)
    assert (tmp_path / name).exists()


def test_removing_a_symlink_keeps_its_target(old: Path) -> None:
    link = old.with_name("link.ckpt")
    link.symlink_to(old)
    io = AtomicCheckpointIO()
    io.remove_checkpoint(link)
    assert old.exists()
    io.remove_checkpoint(str(old))
    io.remove_checkpoint(old)
    assert not list(old.parent.iterdir())
