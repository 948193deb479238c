"""StreamedImages: images in an object store, or in a folder, that are fetched while they are trained on."""

from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from litnets.data.batches import ArrayDataset, EpochSampler
from litnets.data.datamodule import ImageDataModule, Split, channel_statistics, check_new_shape
from litnets.data.folders import PARTS, check_classes
from litnets.data.streamed import Chunks, ChunkSampler, StreamedDataset
from litnets.errors import InputError
from litnets.seeding import global_seed

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

    def fetch(self) -> None:
        """Fetch the lists of the chunks, by one process for all, and none of the images."""
        for part in PARTS:
            Chunks(f"{self.root}/{part}", self.cache_dir, self.cache_gigabytes)

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        if self._shape is None:
            self.be_ready()
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
        self.be_ready()
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
