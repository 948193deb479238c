"""Checkpoints on disks that are full, read-only, or whose writer is killed."""

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
        pytest.skip("no file system may be mounted here")
    others = threading.enumerate()
    yield folder
    for thread in threading.enumerate():  # TensorBoard's, which dies of the full disk, is to do so in this test
        if thread not in others:
            thread.join(5)
    subprocess.run(["umount", str(folder)], check=True)


def refused(path: Path) -> str:
    """What is said when NEW cannot replace OLD; OLD is still there and nothing else."""
    with pytest.raises(SaveError) as error:
        AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert load_checkpoint(path)["global_step"] == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"checkpoint {path}: could not be saved: ")
    assert str(error.value).endswith("; the former last.ckpt is untouched")
    return str(error.value)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)
    return path


def test_a_save_and_a_load(old: Path) -> None:
    io = AtomicCheckpointIO()
    io.save_checkpoint(NEW, str(old))
    content = io.load_checkpoint(str(old))
    assert content["global_step"] == 2
    assert torch.equal(content["state_dict"]["w"], NEW["state_dict"]["w"])  # type: ignore[index]
    io.save_checkpoint(OLD, old)
    assert content["state_dict"]["w"].sum() == 1_000_000, "what was loaded changed with the file"
    umask = os.umask(0)
    os.umask(umask)
    assert old.stat().st_mode & 0o777 == 0o666 & ~umask, "others may read it as they may read the run's other files"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of open files in /proc")
def test_it_is_synced_before_it_gets_its_name(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (order.append(str(Path(f"/proc/self/fd/{file}").readlink())), sync(file))
    )
    monkeypatch.setattr(Path, "replace", lambda self, target: (order.append("name"), replace(self, target)))
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    temporary, *rest = order
    assert re.fullmatch(rf"{old.parent}/\.last\.ckpt\.[0-9a-f]{{8}}\.part", temporary)
    assert rest == ["name", str(old.parent)]


def test_a_full_disk(small_disk: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(OLD, small_disk / "last.ckpt")
    assert os.strerror(errno.ENOSPC) in refused(small_disk / "last.ckpt")


def test_a_disk_that_is_full_when_it_is_synced(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert os.strerror(errno.ENOSPC) in refused(old)


def test_a_file_that_grows_too_large(old: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        assert os.strerror(errno.EFBIG) in refused(old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_is_read_only(small_disk: Path) -> None:
    path = small_disk / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert os.strerror(errno.EROFS) in refused(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs permissions that bind this user")
def test_a_folder_that_may_not_be_written(old: Path) -> None:
    old.parent.chmod(0o555)
    try:
        assert os.strerror(errno.EACCES) in refused(old)
    finally:
        old.parent.chmod(0o755)


def test_what_cannot_be_saved_is_no_matter_of_the_disk(old: Path) -> None:
    with pytest.raises((AttributeError, TypeError, RuntimeError), match=r"pickle|local"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": lambda: 0}, old)
    assert load_checkpoint(old)["global_step"] == 1
    assert [p.name for p in old.parent.iterdir()] == ["last.ckpt"]


def test_leftovers_are_removed(old: Path) -> None:
    leftover, other = old.with_name(".best.ckpt.1.part"), old.with_name(".results.json.part")
    leftover.touch()
    other.touch()
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    assert not leftover.exists()
    assert other.exists()


def test_it_loads_nothing_but_plain_data(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "code": Path}, path)
    with pytest.raises(InputError, match="not a checkpoint that loads safely"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_during_a_save_leaves_a_complete_checkpoint(point: str, old: Path) -> None:
    kill_during_save(NEW, old, point)
    saved = load_checkpoint(old)  # checks every byte against its checksum
    expected = NEW if POINTS[point] else OLD
    assert saved["global_step"] == expected["global_step"]
    assert torch.equal(saved["state_dict"]["w"], expected["state_dict"]["w"])  # type: ignore[index]
    assert len(list(old.parent.glob(".*.part"))) == (0 if POINTS[point] else 1)
    AtomicCheckpointIO().save_checkpoint(OLD, old)
    assert [path.name for path in old.parent.iterdir()] == ["last.ckpt"], "the leftover is removed by the next save"


def test_best_and_last_are_two_files() -> None:
    assert fit() == 0
    run = the_run()
    assert not run.last.is_symlink()
    assert run.last.stat().st_ino != run.best.stat().st_ino
    assert run.last.stat().st_nlink == run.best.stat().st_nlink == 1
    for path in (run.best, run.last):
        assert load_checkpoint(path)["state_dict"]


class OwnIO(TorchCheckpointIO):
    """A plugin of somebody's own."""


class Seen(Callback):
    """Remembers which plugin the trainers have."""

    plugins: ClassVar[list[type]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.plugins.append(type(trainer.strategy.checkpoint_io))


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ([], AtomicCheckpointIO),
        (["--trainer.plugins", "lightning.pytorch.plugins.environments.LightningEnvironment"], AtomicCheckpointIO),
        (["--trainer.plugins", "tests.training.checkpoints.test_atomic_io.OwnIO"], OwnIO),
    ],
)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_every_trainer_has_it(plugins: list[str], expected: type, command: str) -> None:
    Seen.plugins.clear()
    options = [
        "--trainer.fast_dev_run",
        "true",
        "--trainer.callbacks+",
        "tests.training.checkpoints.test_atomic_io.Seen",
    ]
    assert main([command, *TWO_EPOCHS, *options, *plugins]) == 0
    assert set(Seen.plugins) == {expected}


@pytest.mark.parametrize("logger", ["null", "false"])
def test_a_run_on_a_disk_that_fills_up(small_disk: Path, logger: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--runs_dir", str(small_disk), "--model.hidden_layer_sizes", "[400,400]", "--trainer.logger", logger]
    assert fit(*options, "--test_after_fit", "false") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert os.strerror(errno.ENOSPC) in said[0]
    (best,) = small_disk.glob("*/*/best.ckpt")
    assert load_checkpoint(best)["global_step"] == 5
    assert not list(small_disk.glob("*/*/.*"))


# TensorBoard writes in a thread of its own, which dies with a traceback of its own.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_that_logs_on_a_full_disk(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small_disk / "rest").write_bytes(bytes(3 * 2**20 - 2 * 4096))  # room for config.yaml and environment.json
    options = ["--trainer.enable_checkpointing", "false", "--trainer.log_every_n_steps", "1"]
    assert fit("--runs_dir", str(small_disk), "--trainer.logger", "null", *options) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "No space left on device" in said[0]


@pytest.mark.parametrize("name", ["last.ckpt", ".last.ckpt.part", ".last.ckpt.{}.part", ".last.ckpt.00000000.part"])
def test_a_planted_link_is_not_written_through(old: Path, name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link = old.with_name(name.format(os.getpid()))
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    assert victim.read_text() == "mine"
    assert load_checkpoint(old)["global_step"] == 2
    assert not old.is_symlink()


def test_a_folder_named_like_a_temporary_file_is_no_obstacle(old: Path) -> None:
    old.with_name(".last.ckpt.0123abcd.part").mkdir()
    AtomicCheckpointIO().save_checkpoint(NEW, old)
    assert load_checkpoint(old)["global_step"] == 2


@pytest.mark.parametrize("name", ["victim", "victim/notes.txt", "run/../victim/x.ckpt", "run/x.ckpt"])
def test_only_checkpoint_files_are_removed(old: Path, tmp_path: Path, name: str) -> None:
    """The path may come from a checkpoint: a ModelCheckpoint removes the paths that it finds there."""
    for folder in ("victim/x.ckpt", "run/x.ckpt"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "victim" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not removed, because it is not a checkpoint file"):
        AtomicCheckpointIO().remove_checkpoint(tmp_path / name)
    assert (tmp_path / name).exists()


def test_a_checkpoint_is_removed_and_not_what_it_links_to(old: Path) -> None:
    link = old.with_name("link.ckpt")
    link.symlink_to(old)
    io = AtomicCheckpointIO()
    io.remove_checkpoint(link)
    assert old.exists()
    io.remove_checkpoint(str(old))
    io.remove_checkpoint(old)
    assert not list(old.parent.iterdir())
