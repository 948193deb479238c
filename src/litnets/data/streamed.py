"""Samples that lie in litdata's chunks, in an object store or a folder: opening them, an order that reads each chunk
once, and batches of them. litdata fetches, keeps and decodes; which sample comes when is decided here, as for all other
data: a function of (seed, epoch) that knows nothing of workers, so that going on with a run is exact."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from litnets.data.batches import EpochSampler, TensorBatchSampler, smallest_type
from litnets.errors import InputError


class Chunks:
    """The chunks of one split, as litdata's `index.json` lists them; nothing but that file is read.

    Args:
        address: A folder, or what litdata takes for one elsewhere: `s3://bucket/folder`, `gs://...`.
        cache_dir: Where chunks from elsewhere are kept; those of a folder are read in their place.
        cache_gigabytes: What they may take there, in 10^9 bytes; then those that were read first go.

    Raises:
        InputError: No litdata, nothing there that can be read, no chunks, or chunks that litdata would unpack into the
            user's own folder.
    """

    def __init__(self, address: str, cache_dir: str, cache_gigabytes: float) -> None:
        self.address, self.cache_dir, self.cache_gigabytes = address, cache_dir, cache_gigabytes
        opened = self.open()
        self.folder = str(opened.input_dir.path)  # where the index is now; its name has the version of the chunks in it
        index = json.loads(Path(self.folder, "index.json").read_text(encoding="utf-8"))
        if index["config"]["compression"] and opened.input_dir.url is None:
            raise InputError(
                f"{address}: its chunks are compressed, and would be unpacked into that folder; give local:{self.folder} "
                "instead of the folder, and they are unpacked into --data.cache_dir"
            )
        self.sizes = torch.tensor([int(chunk["chunk_size"]) for chunk in index["chunks"]])  # samples of each
        self.starts = self.sizes.cumsum(0) - self.sizes

    def __len__(self) -> int:
        """Samples."""
        return int(self.sizes.sum())

    def open(self) -> Any:
        """litdata's own dataset of them."""
        try:
            from litdata import StreamingDataset
        except ModuleNotFoundError as error:
            raise InputError("StreamedImages needs litdata: pip install -e '.[streaming]'") from error
        try:
            return StreamingDataset(
                self.address, cache_dir=self.cache_dir, max_cache_size=max(1, int(self.cache_gigabytes * 1e9))
            )
        except Exception as error:  # of each store's own library: no such bucket, no credentials, no network ...
            raise InputError(
                f"{self.address} cannot be opened; expected what litdata.optimize has written, an index.json and its "
                f"chunks ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
            ) from error

    def of(self, indices: Tensor) -> Tensor:
        """Number of the chunk of each sample."""
        return torch.searchsorted(self.starts, indices, right=True) - 1


class ChunkSampler(EpochSampler):
    """The samples of one process in one epoch, chunk by chunk: each is fetched once and then read to its end.

    Shuffled, the chunks are in an order drawn from (seed, epoch) and so are the samples within each. Each process takes
    a stretch of it, so that they fetch different chunks; how many samples it takes is as `EpochSampler` says.

    Args:
        chunks: The chunks.
        shuffle: See `EpochSampler`, as for the rest.
    """

    def __init__(self, chunks: Chunks, shuffle: bool, seed: int = 0, rank: int = 0, num_replicas: int = 1) -> None:
        super().__init__(len(chunks), shuffle, seed, rank, num_replicas)
        self.sizes, self.starts = chunks.sizes.tolist(), chunks.starts.tolist()

    def order(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.size).tensor_split(self.num_replicas)[self.rank]
        generator = torch.Generator().manual_seed(self.epoch_seed)
        order = torch.cat(
            [
                self.starts[chunk] + torch.randperm(self.sizes[chunk], generator=generator)
                for chunk in torch.randperm(len(self.sizes), generator=generator).tolist()
            ]
        )
        return order[self.rank * len(self) :][: len(self)]


class StreamedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images of a split and their classes, one by `dataset[i]`, a batch by `__getitems__`: `(N, C, H, W)`, uint8, and
    `(N,)`, in their smallest type.

    Args:
        chunks: The chunks, of samples `{"image": uint8 (C, H, W), "target": int}`.
        num_classes: Number of classes.
        shape: What each image has to have; None for that of the first one.

    Raises:
        InputError: A sample that is something else, when it is read; it is named.
    """

    def __init__(self, chunks: Chunks, num_classes: int, shape: tuple[int, ...] | None = None) -> None:
        self.chunks, self.num_classes = chunks, num_classes
        self._opened: tuple[int, Any] | None = None
        self.shape = tuple(self._read(0)[0].shape) if shape is None else tuple(shape)
        self._opened = None  # a worker that was forked opens its own

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, targets = self.__getitems__([index])
        return images[0], targets[0]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        wanted = torch.as_tensor(indices)
        samples = [self._read(index) for index in wanted.tolist()]
        images, targets = zip(*samples, strict=True)
        return torch.stack(images), torch.tensor(targets, dtype=smallest_type(self.num_classes))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _read(self, index: int) -> tuple[Tensor, int]:
        """One sample, held against what is expected of it."""
        sample = self._dataset()[index]
        if not isinstance(sample, dict) or not {"image", "target"} <= sample.keys():
            found = ", ".join(map(str, sample)) if isinstance(sample, dict) else type(sample).__name__
            raise self._wrong(index, f"expected a dictionary with image and target, got {found}")
        image, target = torch.as_tensor(sample["image"]), int(sample["target"])
        expected = getattr(self, "shape", None)
        if image.dtype != torch.uint8 or image.ndim != 3 or (expected is not None and image.shape != expected):
            shape = "(channels, height, width)" if expected is None else expected
            raise self._wrong(index, f"expected an image of uint8 {shape}, got {image.dtype} {tuple(image.shape)}")
        if not 0 <= target < self.num_classes:
            raise self._wrong(index, f"expected a target from 0 to {self.num_classes - 1} (num_classes), got {target}")
        return image, target

    def _wrong(self, index: int, what: str) -> InputError:
        return InputError(f"{self.chunks.address}: sample {index}: {what}")

    def _dataset(self) -> Any:
        """litdata's dataset of this process: what a fork inherits has the threads and handles of its parent."""
        if self._opened is None or self._opened[0] != os.getpid():
            dataset = self.chunks.open()
            if str(dataset.input_dir.path) != self.chunks.folder:
                raise InputError(f"{self.chunks.address} was written anew since this command began; start it again")
            dataset[0]  # opens it, which has to be before:
            dataset.on_demand_bytes = False  # whole chunks, and not a request for each sample
            self._opened = os.getpid(), dataset
        return self._opened[1]
