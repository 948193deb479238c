"""Tiny sets of images in litdata's chunks, written by litdata as a person would."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.tiny_images import learnable_colours

SIZES = {"train": 200, "val": 40, "test": 30}
CHUNK = 32  # samples of one


def write_streamed(root: Path, **samples: list[dict[str, Any]]) -> Path:
    """Write `root/{train,val,test}`, images of 3x8x8 in 10 classes, or only the splits whose samples are given."""
    import litdata

    tiny = {part: tiny_samples(size, seed) for seed, (part, size) in enumerate(SIZES.items())}
    for part, chosen in (samples or tiny).items():
        litdata.optimize(
            chosen.__getitem__,
            list(range(len(chosen))),
            str(root / part),
            chunk_size=CHUNK,
            num_workers=1,
            start_method="fork",  # it imports nothing
            verbose=False,
        )
    return root


def tiny_samples(size: int, seed: int) -> list[dict[str, Any]]:
    images, targets = learnable_colours(size, seed, side=8)
    return [{"image": np.array(i), "target": int(t)} for i, t in zip(images, targets, strict=True)]
