"""Tiny streamed image data sets, written with `litdata.optimize` as a user would."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.tiny_images import learnable_color_images

SIZES = {"train": 200, "val": 40, "test": 30}
CHUNK = 32  # samples per chunk


def write_streamed(root: Path, **samples: list[dict[str, Any]]) -> Path:
    """Write `root/{train,val,test}` with 3x8x8 images in 10 classes, or only the splits passed in `samples`."""
    import litdata

    tiny = {part: tiny_samples(size, seed) for seed, (part, size) in enumerate(SIZES.items())}
    for part, split in (samples or tiny).items():
        litdata.optimize(
            split.__getitem__,
            list(range(len(split))),
            str(root / part),
            chunk_size=CHUNK,
            num_workers=1,
            start_method="fork",  # starts without importing anything
            verbose=False,
        )
    return root


def tiny_samples(size: int, seed: int) -> list[dict[str, Any]]:
    images, targets = learnable_color_images(size, seed, side=8)
    return [{"image": np.array(i), "target": int(t)} for i, t in zip(images, targets, strict=True)]
