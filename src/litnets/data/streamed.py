"""Samples that lie in litdata's chunks, in an object store or a folder: opening them, an order that reads each chunk
once, and batches of them. litdata fetches, keeps and decodes; which sample comes when is decided here, as for all other
data: a function of (seed, epoch) that knows nothing of workers, so that going on with a run is exact."""

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from os import getpid
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.utils.data import Dataset

from litnets.data.batches import EpochSampler, smallest_type
from litnets.errors import InputError

LEAST_CHUNKS = 4  # that a cache has room for: litdata 0.2.76 deletes chunks that it is about to read if there is less


class Chunks:
    """The chunks of one split, as litdata's `index.json` lists them; nothing but that file is read.

    Args:
        address: A folder, or what litdata takes for one elsewhere: `s3://bucket/folder`, `gs://...`.
        cache_dir: Where chunks from elsewhere are kept; those of a folder are read in their place.
        cache_gigabytes: What they may take there, in 10^9 bytes. If all of them fit, all processes share them; if not,
            each process that reads keeps its own, and deletes those that it has read: what is not read in litdata's own
            order one process may delete while another is about to read it (its pull request #846).

    Raises:
        InputError: No litdata, nothing there that can be read, no chunks, too little room, or chunks that litdata would
            unpack into the user's own folder.
    """

    def __init__(self, address: str, cache_dir: str, cache_gigabytes: float) -> None:
        self.address, self.cache_dir, self.cache_gigabytes = address, Path(cache_dir), cache_gigabytes
        self.elsewhere = "://" in address or address.startswith("local:")
        self.fit = True
        opened = self._open(self.cache_dir)
        self.version = Path(opened.input_dir.path).name
        index = json.loads(Path(opened.input_dir.path, "index.json").read_text(encoding="utf-8"))
        if not self.elsewhere and any(f".{index['config']['compression']}." in c["filename"] for c in index["chunks"]):
            raise InputError(
                f"{address}: its chunks are compressed as a whole, and would be unpacked into that folder; give "
                "local:FOLDER instead of the folder, and they are unpacked into --data.cache_dir"
            )
        sizes = [int(chunk["chunk_bytes"]) for chunk in index["chunks"]]
        self.fit = not self.elsewhere or sum(sizes) <= cache_gigabytes * 1e9
        if not self.fit and (least := LEAST_CHUNKS * max(sizes) / 1e9) > cache_gigabytes:
            raise InputError(f"cache_gigabytes: expected room for {LEAST_CHUNKS} chunks of {address}, {least:g}")
        self.sizes = torch.tensor([int(chunk["chunk_size"]) for chunk in index["chunks"]])  # samples of each
        self.starts = self.sizes.cumsum(0) - self.sizes

    def __len__(self) -> int:
        """Samples."""
        return int(self.sizes.sum())

    def of(self, index: int) -> int:
        """Number of the chunk that has a sample."""
        return int(torch.searchsorted(self.starts, index, right=True)) - 1

    def open(self) -> tuple[Any, FileLock | None]:
        """litdata's own dataset, which reads a sample by its index; and what keeps its cache this process's own, for as
        long as it is held."""
        cache, lock = (self.cache_dir, None) if self.fit else self._own_cache()
        dataset = self._open(cache, read=True)
        if Path(dataset.input_dir.path).name != self.version:
            raise InputError(f"{self.address} was written anew since this command began; start it again")
        return dataset, lock

    def _own_cache(self) -> tuple[Path, FileLock]:
        """An empty folder that no other process uses, and its lock, which ends with this process at the latest."""
        for number in count():
            folder = self.cache_dir / f"part-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            # A chunk that was being read when its process ended would never be deleted.
            shutil.rmtree(folder / "chunks", ignore_errors=True)
            return folder / "chunks", lock
        raise AssertionError

    def _open(self, cache: Path, read: bool = False) -> Any:
        try:
            from litdata import StreamingDataset
            from litdata.streaming.item_loader import PyTreeLoader
        except ModuleNotFoundError as error:
            raise InputError("StreamedImages needs litdata: pip install -e '.[streaming]'") from error
        logging.getLogger("litdata").setLevel(logging.ERROR)  # it warns of every cache of less than 25 GB
        # Where all chunks fit nothing is to be deleted, and litdata's own count of them is not exact.
        size = 2**60 if self.fit else int(self.cache_gigabytes * 1e9)
        loader = PyTreeLoader()
        # Else litdata 0.2.76 reads a whole chunk for each sample of it. No other process deletes what is mapped here.
        loader.set_mmap_allowed_chunks(range(2**31))
        try:
            with self._alone(cache):
                dataset = StreamingDataset(
                    self.address,
                    cache_dir=str(cache),
                    max_cache_size=size,
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

    def _alone(self, cache: Path) -> AbstractContextManager[Any]:
        """While a cache is made: several processes that start at once would delete each other's."""
        if not self.elsewhere:
            return nullcontext()
        cache.mkdir(parents=True, exist_ok=True)
        return FileLock(cache / "opening.lock")


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
        self._read_chunks: list[int] = []  # by it
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
        if self._opened is not None and not self.chunks.fit:
            shutil.rmtree(self._opened[1][0].input_dir.path, ignore_errors=True)
        self._opened, self._read_chunks = None, []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _read(self, index: int) -> tuple[Tensor, int]:
        """One sample, held against what is expected of it."""
        sample = self._dataset(index)[index]
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

    def _dataset(self, index: int) -> Any:
        """litdata's dataset of this process: one that a fork inherits has the threads and handles of its parent."""
        if self._opened is None or self._opened[0] != getpid():
            self._opened, self._read_chunks = (getpid(), self.chunks.open()), []
        if not self.chunks.fit and (chunk := self.chunks.of(index)) not in self._read_chunks[-1:]:
            if chunk in self._read_chunks:
                # A new epoch. litdata 0.2.76 would first fetch the chunk again and then delete it, as asked in the old.
                opened = self.chunks.open()
                self.close()
                self._opened = getpid(), opened
            self._read_chunks.append(chunk)
        return self._opened[1][0]
