"""The images of the benchmarks: MNIST, or synthetic images of the same size."""

import gzip
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PARTS = ("train", "t10k")


def prepare_mnist(source: Path, target: Path, sizes: tuple[int, int]) -> bool:
    """Write MNIST's four files, uncompressed, in torchvision's layout under `target`.

    Args:
        source: Folder that may hold MNIST; if it does not, synthetic images are written.
        target: Folder to write to.
        sizes: Number of training and test images, if they are synthetic.

    Returns:
        Whether the files are the real MNIST.
    """
    raw = source / "MNIST" / "raw"
    names = [f"{part}-{kind}-ubyte" for part in PARTS for kind in ("images-idx3", "labels-idx1")]
    if not all((raw / name).exists() or (raw / f"{name}.gz").exists() for name in names):
        write_mnist(target, *sizes)
        return False
    (target / "MNIST" / "raw").mkdir(parents=True)
    for name in names:
        plain = raw / name
        content = plain.read_bytes() if plain.exists() else gzip.decompress(plain.with_suffix(".gz").read_bytes())
        (target / "MNIST" / "raw" / name).write_bytes(content)
    return True


def write_mnist(folder: Path, train: int, test: int) -> None:
    """Write synthetic images in MNIST's format, uncompressed, under `folder`."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, size in zip(PARTS, (train, test), strict=True):
        images, labels = synthetic(size)
        for kind, values in (("images-idx3", images.squeeze(1)), ("labels-idx1", labels)):
            with (raw / f"{part}-{kind}-ubyte").open("wb") as file:
                file.write(bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes())
                values.numpy().tofile(file)


def synthetic(size: int) -> tuple[Tensor, Tensor]:
    """Return images `(size, 1, 28, 28)` and classes `(size,)`, both uint8: the same 1000 random images, repeated."""
    images = torch.empty(size, 1, 28, 28, dtype=torch.uint8)
    few = torch.randint(0, 256, (1000, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for part in images.split(1000):
        part.copy_(few[: len(part)])
    return images, (torch.arange(size) % 10).to(torch.uint8)


def limit_to_memory(count: int) -> int:
    """Divide the number of images by ten until they take at most two thirds of the free memory."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    while count * 28 * 28 > free * 2 // 3:
        count //= 10
    return count
