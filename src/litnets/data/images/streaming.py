"""StreamedImages: images in an object store or a folder, which are fetched during training."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from os import getpid
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset

from litnets.data.core.batching import ArrayDataset, EpochSampler, smallest_type
from litnets.data.core.class_folders import check_classes
from litnets.data.core.new_samples import Split, check_new_shape
from litnets.data.core.predefined_splits import SPLIT_NAMES
from litnets.data.core.splits import PARTS
from litnets.data.images.base import ImageDataModule, channel_statistics
from litnets.errors import InputError
from litnets.seeding import global_seed


class Chunks:
    """The chunks of a split, as listed in litdata's `index.json`. Only that file is read.

    Args:
        address: A folder, or a URL that litdata supports, such as `s3://bucket/folder` or `gs://bucket/folder`.
        cache_dir: Cache folder for remote chunks. Chunks in a folder are read in place.
        cache_gigabytes: Size of the cache, in gigabytes (10^9 bytes). All chunks have to fit: if they are not read in
            litdata's order, it can delete a chunk that another process is about to read (litdata pull request #846).

    Raises:
        InputError: litdata is not installed; the address cannot be read or has no chunks; the cache is too small; or
            the index asks for more than plain values (see `stream_format`).
    """

    def __init__(self, address: str, cache_dir: str, cache_gigabytes: float) -> None:
        self.address, self.cache_dir = address, Path(cache_dir)
        self.is_remote = "://" in address or address.startswith("local:")
        self.folder = None if "://" in address else Path(address.removeprefix("local:"))
        opened = self._open()
        self.version = Path(opened.input_dir.path).name
        index = self._read_index(Path(opened.input_dir.path))
        size = sum(int(chunk["chunk_bytes"]) for chunk in index["chunks"]) / 1e9
        if self.is_remote and size > cache_gigabytes:
            raise InputError(
                f"cache_gigabytes: expected at least {size:g} to hold all chunks of {address}, got {cache_gigabytes}"
            )
        self.sizes = torch.tensor([int(chunk["chunk_size"]) for chunk in index["chunks"]])  # samples per chunk
        self.starts = self.sizes.cumsum(0) - self.sizes

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self.sizes.sum())

    def open(self) -> Any:
        """Open litdata's dataset, which reads a sample by its index."""
        dataset = self._open(read=True)
        if Path(dataset.input_dir.path).name != self.version:
            raise InputError(f"{self.address} was overwritten since this command started; start it again")
        return dataset

    def _open(self, read: bool = False) -> Any:
        try:
            from litdata import StreamingDataset
        except ModuleNotFoundError as error:
            raise InputError("StreamedImages needs litdata: pip install -e '.[streaming]'") from error
        from litnets.data.images.stream_format import PyTreeLoader, checked_indices

        logging.getLogger("litdata").setLevel(logging.ERROR)  # it warns about every cache smaller than 25 GB
        loader = PyTreeLoader()
        # Without this, litdata 0.2.76 reads the complete chunk for each sample. Mapped chunks are never deleted here.
        loader.set_mmap_allowed_chunks(range(2**31))
        try:
            if self.folder is not None:
                self._read_index(self.folder)  # litdata would create a missing index
            with self._exclusive_lock(), checked_indices(self.address):
                dataset = StreamingDataset(
                    self.address,
                    cache_dir=str(self.cache_dir),
                    max_cache_size=2**60,  # all chunks fit, so none has to be deleted
                    item_loader=loader,
                    batch_decode=0,  # by default, decodes the next 256 samples of a chunk, which a shuffle does not use
                )
            if read:
                with checked_indices(self.address):
                    dataset[0]  # creates the reader, which the next line configures
                dataset.on_demand_bytes = False  # fetch complete chunks instead of one sample per request
            return dataset
        except InputError:
            raise
        # The client of each store has its own errors: no such bucket, no credentials, no network ...
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{self.address} cannot be opened ({type(error).__name__}: {reason}); expected an index.json and its "
                "chunks, as written by litdata.optimize"
            ) from error

    def _read_index(self, folder: Path) -> dict[str, Any]:
        from litnets.data.images.stream_format import check_chunk_files, read_index

        index = read_index(folder, self.address)
        if self.folder is not None:
            check_chunk_files(self.folder, index)
        return index

    def _exclusive_lock(self) -> AbstractContextManager[Any]:
        """Return the lock for creating the cache, since processes that start together would delete each other's."""
        if not self.is_remote:
            return nullcontext()
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        return FileLock(self.cache_dir / "opening.lock")


class ChunkSampler(EpochSampler):
    """Sampler of one process that reads the samples chunk by chunk, so that each chunk is fetched once.

    With `shuffle`, the order of the chunks and of the samples within each chunk is random and seeded by (seed, epoch).
    Each process gets a contiguous part of the order, so that processes fetch different chunks. It has as
    many samples as with an `EpochSampler`.

    Args:
        chunks: The chunks.
        shuffle: Whether to shuffle chunks and samples in every epoch.
        seed: Seed of the order.
        rank: Rank of this process.
        num_replicas: Number of processes.
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
    """Images and classes of a split. `dataset[i]` is a sample, and `__getitems__` returns a batch.

    A batch consists of uint8 images `(N, C, H, W)` and classes `(N,)` in their smallest dtype.

    Args:
        chunks: Chunks of samples `{"image": uint8 (C, H, W), "target": int}`.
        num_classes: Number of classes.
        shape: Expected shape of each image; None for the shape of the first image.

    Raises:
        InputError: A sample has another format. This is raised when the sample is read.
    """

    def __init__(self, chunks: Chunks, num_classes: int, shape: tuple[int, ...] | None = None) -> None:
        self.chunks, self.num_classes = chunks, num_classes
        self._opened: tuple[int, Any] | None = None  # the process that opened the dataset, and the dataset
        self.shape = shape
        if shape is None:
            self.shape = tuple(self._read(0)[0].shape)

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, targets = self.__getitems__([index])
        return images[0], targets[0]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        samples = [self._read(index) for index in torch.as_tensor(indices).tolist()]
        images, targets = zip(*samples, strict=True)
        return torch.stack(images), torch.tensor(targets, dtype=smallest_type(self.num_classes))

    def close(self) -> None:
        """Close the dataset in this process, so that no worker inherits it. Reading opens it again."""
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _read(self, index: int) -> tuple[Tensor, int]:
        """Read and validate one sample."""
        sample = self._dataset()[index]
        if not isinstance(sample, dict) or not {"image", "target"} <= sample.keys():
            content = ", ".join(map(str, sample)) if isinstance(sample, dict) else type(sample).__name__
            raise self._invalid_sample(index, f"expected a dictionary with image and target, got {content}")
        image, target = torch.as_tensor(sample["image"]), int(sample["target"])
        if image.dtype != torch.uint8 or image.ndim != 3 or self.shape not in (None, tuple(image.shape)):
            shape = self.shape or "(channels, height, width)"
            raise self._invalid_sample(index, f"expected a uint8 image {shape}, got {image.dtype} {tuple(image.shape)}")
        if not 0 <= target < self.num_classes:
            raise self._invalid_sample(
                index, f"expected a target from 0 to {self.num_classes - 1} (num_classes), got {target}"
            )
        return image, target

    def _invalid_sample(self, index: int, problem: str) -> InputError:
        return InputError(f"{self.chunks.address}: sample {index}: {problem}")

    def _dataset(self) -> Any:
        """Return litdata's dataset of this process. One inherited by a fork would share its parent's file handles."""
        if self._opened is None or self._opened[0] != getpid():
            self._opened = getpid(), self.chunks.open()
        return self._opened[1]


STATISTICS_CHUNKS, STATISTICS_SAMPLES = 8, 2048


class StreamedImages(ImageDataModule):
    """Images in an object store, or in a folder that is larger than memory, in litdata's format.

        litnets fit --model CNNClassifier --data StreamedImages --data.root s3://bucket/pets --data.num_classes 37

    The splits are `root/train`, `root/val` and `root/test`, each written by litdata (`pip install -e ".[streaming]"`).
    In a folder, the validation split may also be named valid, validation or dev. A sample is an image, uint8
    `(channels, height, width)`, and its class. All images have the same shape::

        def sample(path):
            image = np.asarray(Image.open(path).convert("RGB").resize((64, 64))).transpose(2, 0, 1)
            return {"image": image, "target": CLASSES.index(path.parent.name)}

        if __name__ == "__main__":
            litdata.optimize(sample, shuffled_paths, "s3://bucket/pets/train", chunk_bytes="64MB", num_workers=4)

    Write the samples in random order. Training shuffles the chunks and the samples within each chunk, so that a batch
    comes from only one or two chunks. Remote chunks are fetched once, on first use, and kept in `cache_dir`. The order
    depends only on (seed, epoch) and not on the workers, so that `litnets resume` is exact with any number of workers.
    Several processes each read a part of it. Set `num_workers` to about the number of CPU cores.

    Only plain values are read: arrays, tensors, JPEG, PNG and WebP images, numbers and strings. A data set with other
    fields is rejected because they may contain pickles, which can run code. Compressed chunks are rejected because
    their decompressed size is not limited.

    Mean and standard deviation are estimated from 2048 training images in 8 evenly spaced chunks, because reading all
    images would take as long as an epoch. The number of samples per class is unknown, so `class_weights: balanced` is
    not available.

    Args:
        root: A folder, or a URL such as `s3://bucket/pets` or `gs://bucket/pets`, with the default credentials of the
            store. `local:FOLDER` treats a folder like a URL.
        num_classes: Number of classes. A target outside [0, num_classes) is an error.
        class_names: Names of the classes (default: 0, 1, 2 ...).
        cache_dir: Cache folder for remote chunks. Chunks in a folder are read in place.
        cache_gigabytes: Size of the cache for each split, in gigabytes (10^9 bytes). A larger split is an error.
        **images: Arguments of `ImageDataModule` and `ArrayDataModule`.
    """

    num_classes: int

    def __init__(
        self,
        root: str,
        num_classes: int,
        class_names: list[str] | None = None,
        cache_dir: str = "data/streamed",
        cache_gigabytes: float = 50.0,
        **images: Any,
    ) -> None:
        super().__init__(**images)
        if num_classes < 2:
            raise InputError(f"num_classes: expected at least 2, got {num_classes}")
        if class_names is not None and len(class_names) != num_classes:
            raise InputError(f"class_names: expected {num_classes} names (num_classes), got {len(class_names)}")
        self.root, self.num_classes = root.rstrip("/"), num_classes
        self.class_names = class_names or [str(number) for number in range(num_classes)]
        self.cache_dir, self.cache_gigabytes = cache_dir, cache_gigabytes
        self._shape: tuple[int, ...] | None = None

    def _location(self, part: str) -> str:
        """Return the folder or address of a split. In a local folder, it may have another name, such as `valid`."""
        names = SPLIT_NAMES[part]
        name = next((name for name in names if Path(self.root, name).is_dir()), part)
        return f"{self.root}/{name}"

    def download(self) -> None:
        """Fetch the indices of the splits, in one process for all, but no images."""
        for part in PARTS:
            Chunks(self._location(part), self.cache_dir, self.cache_gigabytes)

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        if self._shape is None:
            self.ensure_setup()
        assert self._shape is not None
        return self._shape

    @property
    def class_counts(self) -> None:
        """None: the targets are stored with the images, so counting them would fetch all images."""

    def load(self) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for part in PARTS:
            chunks = Chunks(self._location(part), self.cache_dir, self.cache_gigabytes)
            dataset = StreamedDataset(chunks, self.num_classes, self._shape)
            self._shape = dataset.shape
            dataset.close()
            # StreamedDataset returns batches like an ArrayDataset, and the dataloaders need no more.
            splits[part] = cast(ArrayDataset, dataset)
        return splits

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        self.ensure_setup()
        train: Any = self.splits["train"]
        images = torch.cat([train.__getitems__(indices)[0] for indices in statistics_sample(train.chunks)])
        train.close()
        return channel_statistics(images, torch.arange(len(images)))

    def choose_examples(self, part: str, count: int) -> list[int]:
        """Return the first samples, so that few chunks are fetched for them."""
        return list(range(min(count, len(self.splits[part]))))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names, "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.splits:
            check_classes(state_dict["class_names"], self.class_names)
            check_new_shape(self, state_dict)
        else:
            self._shape = tuple(state_dict["input_shape"])
        super().load_state_dict(state_dict)

    def _sampler(self, dataset: Any, shuffle: bool) -> EpochSampler:
        if not isinstance(dataset, StreamedDataset):  # new images to predict, in memory
            return super()._sampler(dataset, shuffle)
        return ChunkSampler(dataset.chunks, shuffle, global_seed(), *self._process())


def statistics_sample(chunks: Chunks) -> list[Tensor]:
    """Return the indices of up to 2048 samples, evenly spaced within each of up to 8 evenly spaced chunks."""
    num_chunks = min(STATISTICS_CHUNKS, len(chunks.sizes))
    selected = torch.linspace(0, len(chunks.sizes) - 1, num_chunks).round().long()
    per_chunk = STATISTICS_SAMPLES // num_chunks
    return [
        chunks.starts[chunk] + torch.linspace(0, size - 1, min(per_chunk, size)).round().long()
        for chunk in selected.tolist()
        if (size := int(chunks.sizes[chunk]))
    ]
