"""Seed each batch: randomness in training is a function of (seed, epoch, batch, rank), not of what came before.

A run that is resumed at batch k therefore gets the same random numbers, and no generator state has to be saved.
"""

import os
import random

import numpy as np
import torch


def global_seed() -> int:
    """Return the seed of the run, as set by `seed_everything`. It is the same in every process."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def seed_batch(epoch: int, batch: int, rank: int, part: int) -> None:
    """Seed the generators of torch, NumPy and Python.

    Args:
        epoch: Epoch, from 0.
        batch: Batch of this process in the epoch, from 0.
        rank: Index of the process.
        part: Which part of the batch is seeded, so that the parts do not share a stream: 0 for augmentation, 1 for the
            network, 2 for reading data with a DataModule that is not from litnets.
    """
    number = 0
    for value in (global_seed(), epoch, batch, rank, part):
        number = (number * 1_000_003 + value) % 2**63
    # torch.manual_seed also seeds every other kind of device, which takes fifty times as long.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    random.seed(number)
    np.random.seed(number % 2**32)
