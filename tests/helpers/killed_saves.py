"""Kills a process at random moments of its saving, many times: `python -m tests.helpers.killed_saves FOLDER KILLS`.

A child saves one checkpoint after the other under the same name and says when it begins and when it has ended. Once it
is killed, the file must load and hold a state as a whole: the last one that it ended, or a later one that it began.
Prints how many of the kills came in the middle of a save.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from litnets.training.checkpoints.atomic_io import AtomicCheckpointIO
from litnets.training.checkpoints.loading import load_checkpoint

SIZE = 200_000


def save_for_ever(path: Path, step: int, said: int) -> None:
    """Runs in the child."""
    io = AtomicCheckpointIO()
    while True:
        step += 1
        os.write(said, f"begin {step}\n".encode())
        weights = {name: torch.full((SIZE,), step, dtype=torch.int32) for name in "ab"}
        io.save_checkpoint({"state_dict": weights, "global_step": step}, path)
        os.write(said, f"end {step}\n".encode())


def kill_once(path: Path, step: int, after: float) -> tuple[int, bool]:
    """The step of the checkpoint that is there after a kill, and whether a save was cut off."""
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        save_for_ever(path, step, said)
    os.close(said)
    first = os.read(heard, 1)  # waits until it saves
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(heard, "rb") as pipe:
        words = (first + pipe.read()).decode().split()
    steps = {
        word: [int(n) for w, n in zip(words[::2], words[1::2], strict=True) if w == word] for word in ("begin", "end")
    }
    began, ended = max(steps["begin"], default=step), max(steps["end"], default=step)
    content = load_checkpoint(path)
    found = int(content["global_step"])
    assert ended <= found <= began, f"step {found}, but {ended} was saved and {began} begun"
    for weights in content["state_dict"].values():
        assert weights.shape == (SIZE,), "a checkpoint is not whole"
        assert (weights == found).all(), "a checkpoint is made of two"
    return found, began > ended


def main(folder: Path, kills: int) -> None:
    chance = random.Random(0)
    start = time.monotonic()
    state = {"state_dict": {name: torch.zeros(SIZE, dtype=torch.int32) for name in "ab"}, "global_step": 0}
    AtomicCheckpointIO().save_checkpoint(state, folder / "last.ckpt")
    took = time.monotonic() - start  # differs by the disk and by what else the machine does
    step = cut = 0
    for _ in range(kills):
        step, middle = kill_once(folder / "last.ckpt", step, chance.uniform(0, 3 * took))
        cut += middle
    left = len(list(folder.iterdir()))
    assert left <= 2, "leftovers gather"
    print(f"{kills} kills, {cut} in the middle of a save, {step} saves, all whole")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
