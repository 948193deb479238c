"""Samples that lie in litdata's chunks, in an object store or a folder: opening them, an order that reads each chunk
once, and batches of them. litdata fetches, keeps and decodes; which sample comes when is decided here, as for all other
data: a function of (seed, epoch) that knows nothing of workers, so that going on with a run is exact."""

import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from os import getpid
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset

from litnets.data.batches import EpochSampler, smallest_type
from litnets.errors import InputError


class Chunks:
    """The chunks of one split, as litdata's `index.json` lists them; nothing but that file is read.

    Args:
        address: A folder, or what litdata takes for one elsewhere: `s3://bucket/folder`, `gs://...`.
        cache_dir: Where chunks from elsewhere are kept; those of a folder are read in their place.
        cache_gigabytes: What they may take there, in 10^9 bytes. All of them have to fit: litdata deletes chunks that
            are not read in its own order while another process is about to read them (its pull request #846).

    Raises:
        InputError: No litdata, nothing there that can be read, no chunks, too little room, or chunks that litdata would
            unpack into the user's own folder.
    """

    def __init__(self, address: str, cache_dir: str, cache_gigabytes: float) -> None:
        self.address, self.cache_dir = address, Path(cache_dir)
        self.elsewhere = "://" in address or address.startswith("local:")
        opened = self._open()
        self.version = Path(opened.input_dir.path).name
        index = json.loads(Path(opened.input_dir.path, "index.json").read_text(encoding="utf-8"))
        if not self.elsewhere and any(f".{index['config']['compression']}." in c["filename"] for c in index["chunks"]):
            raise InputError(
                f"{address}: its chunks are compressed as a whole, and would be unpacked into that folder; give "
                "local:FOLDER instead of the folder, and they are unpacked into --data.cache_dir"
            )
        size = sum(int(chunk["chunk_bytes"]) for chunk in index["chunks"]) / 1e9
        if self.elsewhere and size > cache_gigabytes:
            raise InputError(
                f"cache_gigabytes: expected room for all chunks of {address}, {size:g}, got {cache_gigabytes}"
            )
        self.sizes = torch.tensor([int(chunk["chunk_size"]) for chunk in index["chunks"]])  # samples of each
        self.starts = self.sizes.cumsum(0) - self.sizes

    def __len__(self) -> int:
        """Samples."""
        return int(self.sizes.sum())

    def open(self) -> Any:
        """litdata's own dataset, which reads a sample by its index."""
        dataset = self._open(read=True)
        if Path(dataset.input_dir.path).name != self.version:
            raise InputError(f"{self.address} was written anew since this command began; start it again")
        return dataset

    def _open(self, read: bool = False) -> Any:
        try:
            from litdata import StreamingDataset
            from litdata.streaming.item_loader import PyTreeLoader
        except ModuleNotFoundError as error:
            raise InputError("StreamedImages needs litdata: pip install -e '.[streaming]'") from error
        logging.getLogger("litdata").setLevel(logging.ERROR)  # it warns of every cache of less than 25 GB
        loader = PyTreeLoader()
        # Else litdata 0.2.76 reads a whole chunk for each sample of it. What is mapped here is never deleted.
        loader.set_mmap_allowed_chunks(range(2**31))
        try:
            with self._alone():
                dataset = StreamingDataset(
                    self.address,
                    cache_dir=str(self.cache_dir),
                    max_cache_size=2**60,  # nothing is to be deleted: all of them fit
                    item_loader=loader,
                    batch_decode=0,  # else 256 neighbours of each sample, which are not the ones that come next
                )
            if read:
                dataset[0]  # makes the reader, whose setting is:
                dataset.on_demand_bytes = False  # to fetch whole chunks, and not each sample by a request of its own
            return dataset
        except Exception as error:  # of each store's own library: no such bucket, no credentials, no network ...
            first = str(error).partition("\n")[0]
            raise InputError(
                f"{self.address} cannot be opened; expected what litdata.optimize has written, an index.json and its "
                f"chunks ({type(error).__name__}: {first})"
            ) from error

    def _alone(self) -> AbstractContextManager[Any]:
        """While a cache is made: several processes that start at once would delete each other's."""
        if not self.elsewhere:
            return nullcontext()
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        return FileLock(self.cache_dir / "opening.lock")


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
        self._opened: tuple[int, Any] | None = None  # the process that has opened it
        self.shape = shape
        if shape is None:
            self.shape = tuple(self._read(0)[0].shape)

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

    def close(self) -> None:
        """Let go of what this process has opened, so that no worker inherits it; reading opens it again."""
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _read(self, index: int) -> tuple[Tensor, int]:
        """One sample, held against what is expected of it."""
        sample = self._dataset()[index]
        if not isinstance(sample, dict) or not {"image", "target"} <= sample.keys():
            found = ", ".join(map(str, sample)) if isinstance(sample, dict) else type(sample).__name__
            raise self._wrong(index, f"expected a dictionary with image and target, got {found}")
        image, target = torch.as_tensor(sample["image"]), int(sample["target"])
        if image.dtype != torch.uint8 or image.ndim != 3 or self.shape not in (None, tuple(image.shape)):
            shape = self.shape or "(channels, height, width)"
            raise self._wrong(index, f"expected an image of uint8 {shape}, got {image.dtype} {tuple(image.shape)}")
        if not 0 <= target < self.num_classes:
            raise self._wrong(index, f"expected a target from 0 to {self.num_classes - 1} (num_classes), got {target}")
        return image, target

    def _wrong(self, index: int, what: str) -> InputError:
        return InputError(f"{self.chunks.address}: sample {index}: {what}")

    def _dataset(self) -> Any:
        """litdata's dataset of this process: one that a fork inherits has the threads and handles of its parent."""
        if self._opened is None or self._opened[0] != getpid():
            self._opened = getpid(), self.chunks.open()
        return self._opened[1]
