"""StreamedImages: images in an object store, or in a folder, that are fetched while they are trained on."""

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

from litnets.data.core.base import Split, check_new_shape
from litnets.data.core.batching import ArrayDataset, EpochSampler, smallest_type
from litnets.data.core.class_folders import check_classes
from litnets.data.core.splits import PARTS
from litnets.data.images.base import ImageDataModule, channel_statistics
from litnets.errors import InputError
from litnets.seeding import global_seed


class Chunks:
    """The chunks of one split, as litdata's `index.json` lists them; nothing but that file is read.

    Args:
        address: A folder, or what litdata takes for one elsewhere: `s3://bucket/folder`, `gs://...`.
        cache_dir: Where chunks from elsewhere are kept; those of a folder are read in their place.
        cache_gigabytes: What they may take there, in 10^9 bytes. All of them have to fit: litdata deletes chunks that
            are not read in its own order while another process is about to read them (its pull request #846).

    Raises:
        InputError: No litdata, nothing there that can be read, no chunks, too little room, or an index that asks for
            more than plain values (see `stream_format`).
    """

    def __init__(self, address: str, cache_dir: str, cache_gigabytes: float) -> None:
        self.address, self.cache_dir = address, Path(cache_dir)
        self.elsewhere = "://" in address or address.startswith("local:")
        self.folder = None if "://" in address else Path(address.removeprefix("local:"))
        opened = self._open()
        self.version = Path(opened.input_dir.path).name
        index = self._read_index(Path(opened.input_dir.path))
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
        except ModuleNotFoundError as error:
            raise InputError("StreamedImages needs litdata: pip install -e '.[streaming]'") from error
        from litnets.data.images.stream_format import PyTreeLoader, checked_indices

        logging.getLogger("litdata").setLevel(logging.ERROR)  # it warns of every cache of less than 25 GB
        loader = PyTreeLoader()
        # Else litdata 0.2.76 reads a whole chunk for each sample of it. What is mapped here is never deleted.
        loader.set_mmap_allowed_chunks(range(2**31))
        try:
            if self.folder is not None:
                self._read_index(self.folder)  # litdata would make an index where there is none
            with self._exclusive_lock(), checked_indices(self.address):
                dataset = StreamingDataset(
                    self.address,
                    cache_dir=str(self.cache_dir),
                    max_cache_size=2**60,  # nothing is to be deleted: all of them fit
                    item_loader=loader,
                    batch_decode=0,  # else 256 neighbours of each sample, which are not the ones that come next
                )
            if read:
                with checked_indices(self.address):
                    dataset[0]  # makes the reader, whose setting is:
                dataset.on_demand_bytes = False  # to fetch whole chunks, and not each sample by a request of its own
            return dataset
        except InputError:
            raise
        except Exception as error:  # of each store's own library: no such bucket, no credentials, no network ...
            first = str(error).partition("\n")[0]
            raise InputError(
                f"{self.address} cannot be opened; expected what litdata.optimize has written, an index.json and its "
                f"chunks ({type(error).__name__}: {first})"
            ) from error

    def _read_index(self, folder: Path) -> dict[str, Any]:
        from litnets.data.images.stream_format import check_chunk_files, read_index

        index = read_index(folder, self.address)
        if self.folder is not None:
            check_chunk_files(self.folder, index)
        return index

    def _exclusive_lock(self) -> AbstractContextManager[Any]:
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


STATISTICS_CHUNKS, STATISTICS_SAMPLES = 8, 2048


class StreamedImages(ImageDataModule):
    """Images that lie in an object store, or in a folder larger than memory: `root/train`, `root/val` and
    `root/test`, each written by litdata (`pip install -e ".[streaming]"`) from samples of an image, uint8 (channels,
    height, width), all of one shape, and its class:

        def sample(path):
            image = np.asarray(Image.open(path).convert("RGB").resize((64, 64))).transpose(2, 0, 1)
            return {"image": image, "target": CLASSES.index(path.parent.name)}

        if __name__ == "__main__":
            litdata.optimize(sample, shuffled_paths, "s3://bucket/pets/train", chunk_bytes="64MB", num_workers=4)

    Write them in a random order: training shuffles the chunks, and the samples within each, and a batch is cut from one
    or two chunks. Chunks are kept in `cache_dir` and fetched once, each when it is first read. The order is a function
    of (seed, epoch) and not of the workers, so that `litnets resume` is exact with any number of them; several
    processes take a part of it each. Set `num_workers` to about the number of processors.

    Only plain values are read: an array or a tensor, an encoded JPEG, PNG or WebP, numbers, texts. A data set with
    other fields, which may be pickles and run code, or with compressed chunks, whose size nothing bounds, is refused.

    Mean and standard deviation are those of 2048 training images, evenly from 8 chunks: reading all would take as long
    as an epoch. How many samples a class has is not known (no `class_weights: balanced`).

    Args:
        root: A folder, or an address such as `s3://bucket/pets` or `gs://bucket/pets`; the credentials are those that
            the store's own tools find. `local:FOLDER` goes the way of an address.
        num_classes: Number of classes; a target that is none of them stops the run.
        class_names: Their names (default: 0, 1, 2 ...).
        cache_dir: Folder for chunks from an object store; what is in a folder is read where it is.
        cache_gigabytes: What they may take there (10^9 bytes), for each of the three splits. A split that is larger is
            refused: it is fetched once, and then read from there.
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
            raise InputError(f"class_names: expected num_classes of them, {num_classes}, got {len(class_names)}")
        self.root, self.num_classes = root.rstrip("/"), num_classes
        self.class_names = class_names or [str(number) for number in range(num_classes)]
        self.cache_dir, self.cache_gigabytes = cache_dir, cache_gigabytes
        self._shape: tuple[int, ...] | None = None

    def download(self) -> None:
        """Fetch the lists of the chunks, by one process for all, and none of the images."""
        for part in PARTS:
            Chunks(f"{self.root}/{part}", self.cache_dir, self.cache_gigabytes)

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        if self._shape is None:
            self.ensure_setup()
        assert self._shape is not None
        return self._shape

    @property
    def class_counts(self) -> None:
        """Not known: the targets lie beside the images, and all would have to be fetched."""

    def load(self) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for part in PARTS:
            chunks = Chunks(f"{self.root}/{part}", self.cache_dir, self.cache_gigabytes)
            dataset = StreamedDataset(chunks, self.num_classes, self._shape)
            self._shape = dataset.shape
            dataset.close()
            # It gives batches as an ArrayDataset does, and the loaders ask no more of it.
            splits[part] = cast(ArrayDataset, dataset)
        return splits

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        self.ensure_setup()
        train: Any = self.splits["train"]
        images = torch.cat([train.__getitems__(indices)[0] for indices in statistics_sample(train.chunks)])
        train.close()
        return channel_statistics(images, torch.arange(len(images)))

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
        if not isinstance(dataset, StreamedDataset):  # new images, in memory
            return super()._sampler(dataset, shuffle)
        return ChunkSampler(dataset.chunks, shuffle, global_seed(), *self._process())


def statistics_sample(chunks: Chunks) -> list[Tensor]:
    """Indices of up to 2048 samples, evenly from up to 8 chunks, which lie evenly over the split."""
    number = min(STATISTICS_CHUNKS, len(chunks.sizes))
    chosen = torch.linspace(0, len(chunks.sizes) - 1, number).round().long()
    each = STATISTICS_SAMPLES // number
    return [
        chunks.starts[chunk] + torch.linspace(0, size - 1, min(each, size)).round().long()
        for chunk in chosen.tolist()
        if (size := int(chunks.sizes[chunk]))
    ]
