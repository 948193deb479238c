"""The seed of a batch: randomness in training is a function of (seed, epoch, batch, process), not of what came before.

A run that goes on at batch k thus draws what it would have drawn, with no state of a generator to be kept.
"""

import os
import random

import numpy as np
import torch


def global_seed() -> int:
    """The seed of the run, as `seed_everything` left it; the same in every process."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def seed_batch(epoch: int, batch: int, rank: int, part: int) -> None:
    """Seed the generators of torch, NumPy and Python.

    Args:
        epoch: Epoch, from 0.
        batch: Batch of this process in the epoch, from 0.
        rank: Index of the process.
        part: What of the batch is about to draw, so that its parts share no stream: 0 the augmentation, 1 the network,
            2 the reading of data that are no DataModule of this project.
    """
    number = 0
    for value in (global_seed(), epoch, batch, rank, part):
        number = (number * 1_000_003 + value) % 2**63
    # torch.manual_seed asks every kind of device first, which takes fifty times as long.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    random.seed(number)
    np.random.seed(number % 2**32)
