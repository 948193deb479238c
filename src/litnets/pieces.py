"""Collect the batches of an epoch in a few tensors instead of one per batch.

Many small tensors would fragment the memory, so that large ones would no longer fit in between.
"""

import torch
from torch import Tensor


def append_merged(pieces: list[Tensor], batch: Tensor) -> None:
    """Append a batch, and merge the last pieces until each piece is at least twice as long as the next."""
    pieces.append(batch)
    while len(pieces) > 1 and len(pieces[-2]) < 2 * len(pieces[-1]):
        pieces[-2:] = [torch.cat(pieces[-2:])]
