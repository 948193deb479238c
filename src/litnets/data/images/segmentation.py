"""Base class of the DataModules for segmentation: images of any size, each with a mask."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import ArrayDataset, EpochSampler
from litnets.data.core.class_folders import BrokenFileError, read_all, read_content
from litnets.data.core.data_card import SliceValues, describe_numbers
from litnets.data.core.inputs import as_items, is_path
from litnets.data.core.listing import names_in, new_files
from litnets.data.core.new_chunks import NewChunk
from litnets.data.core.new_samples import Split
from litnets.data.core.raw_inputs import mask_to_png, to_png
from litnets.data.core.sample_columns import Columns, sources_of
from litnets.data.images.augment import Augmentation
from litnets.data.images.base import ImageDataModule, mean_and_std
from litnets.data.images.crops import (
    IGNORE_INDEX,
    CropSampler,
    Images,
    MaskedCrops,
    MaskedImages,
    TiledImages,
    WholeImageSampler,
)
from litnets.data.images.decoding import SUFFIXES, decode, to_pixels
from litnets.data.images.full_size import FullSizeImages
from litnets.data.images.labeled import ChooseValues, LabeledImages
from litnets.data.images.mask_files import MaskFiles
from litnets.data.images.masks import Color, MaskReader, MaskValues
from litnets.data.images.tiles import Size
from litnets.errors import InputError
from litnets.seeding import global_seed

_CHUNK_IMAGES = 16  # images that are read together to be predicted


class SegmentationDataModule(SplitDataModule, ImageDataModule):
    """Base class for images with masks. A batch is `(images (N, C, H, W), masks (N, H, W))`.

    Training takes random crops of one size, as many of each image as it has tiles. Validation and test take the tiles
    themselves, in which each pixel counts once. Prediction takes overlapping tiles, whose predictions are averaged.
    Pixels whose class in the mask is `ignore_index` do not count.

    A subclass defines `input_shape`, the shape of a crop, and implements `load` with `make_splits`.

    Args:
        augment: Augmentations of a training batch, in this order. A `GeometricAugmentation` moves images and masks
            together, an `IntensityAugmentation` changes only the images. Default: none.
        overlap: Fraction of the height and width of a tile that neighboring tiles share in prediction.
        predict_path: New images for `predict`: an image file, or a folder, which is searched recursively. They can have
            any size, and the training files are not read. Default: the test split.
        **images: Arguments of `ImageDataModule`, `SplitDataModule` and `ArrayDataModule`.

    Raises:
        InputError: An augmentation does not define how masks change; `overlap` is outside [0, 1).
    """

    ignore_index: ClassVar[int] = IGNORE_INDEX
    mask_suffix: str = ""  # `_mask` if the mask of `a.jpg` is `a_mask.png`

    def __init__(
        self,
        augment: list[Augmentation] | None = None,
        overlap: float = 0.25,
        predict_path: str | None = None,
        **images: Any,
    ) -> None:
        super().__init__(augment=augment, predict_path=predict_path, **images)
        if not 0 <= overlap < 1:
            raise InputError(f"overlap: expected a fraction in [0, 1), got {overlap}")
        for name in (type(item).__name__ for item in self.augment if not _defines_masks(item)):
            raise InputError(
                f"augment: {name} does not define how masks change; derive it from IntensityAugmentation if "
                "it leaves each pixel in place, otherwise from GeometricAugmentation"
            )
        self.overlap = overlap

    def make_splits(self, pairs: MaskedImages, splits: dict[str, Tensor]) -> dict[str, Split]:
        """Return the splits, given the indices of their images."""
        # The base class expects an ArrayDataset. The methods here that read a split cast it back to MaskedCrops.
        return {part: cast(ArrayDataset, MaskedCrops(pairs, indices, self._tile)) for part, indices in splits.items()}

    @property
    def _tile(self) -> Size:
        return cast(Size, tuple(self.input_shape[1:]))

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training split."""
        pairs, train = self._train()
        sums, squares = pairs.sums[train].sum(0)
        return mean_and_std(sums, squares, int(pairs.sizes[train].prod(1).sum()))

    def count_classes(self, split: Split, num_classes: int) -> list[int]:
        """Return the number of pixels of each class in a split."""
        crops = cast(MaskedCrops, split)
        counts: list[int] = crops.pairs.counts[crops.members].sum(0).tolist()
        return counts

    def _train(self) -> tuple[MaskedImages, Tensor]:
        """Return all images, and the indices of those to train on."""
        self.ensure_setup()
        train = cast(MaskedCrops, self.splits["train"])
        return train.pairs, train.members

    def read_labeled(self, files: MaskFiles, colors: list[Color] | None, choose_values: ChooseValues) -> LabeledImages:
        """Read images and their masks; see `LabeledImages.read`."""
        memory = self.memory_budget * 1e9 / (self.channels + 1)  # for each channel, and for the mask
        return LabeledImages.read(
            self.open_images(files.images, memory * self.channels),
            files.masks,
            MaskReader(self.max_pixels, colors),
            choose_values,
            channels=self.channels,
            memory=memory,
            skip_broken=self.skip_broken,
        )

    def load_labeled(self, path: Path) -> ArrayDataset:
        """Return the images in `path/images` with their masks in `path/masks`, which use the values of training."""

        def check(counts: NDArray[np.int64], masks: Sequence[Path]) -> MaskValues:
            self.mask_values.check(counts, masks)
            return self.mask_values

        labeled = self.read_labeled(MaskFiles.scan(path, self.mask_suffix), self.mask_values.colors, check)
        members = labeled.usable.nonzero().squeeze(1)
        return cast(ArrayDataset, MaskedCrops(labeled.pairs, members, self._tile))

    @property
    def mask_values(self) -> MaskValues:
        """The values that stand for the classes in the masks of labeled images."""
        assert self.trained_classes is not None
        return MaskValues.numbered(list(self.trained_classes))

    def _sampler(self, dataset: Any, shuffle: bool) -> EpochSampler:
        rank, processes = self._process()
        if isinstance(dataset, TiledImages):
            # With fewer images than processes, each process predicts all of them.
            return WholeImageSampler(dataset, *((0, 1) if len(dataset.sizes) < processes else (rank, processes)))
        if isinstance(dataset, MaskedCrops) and dataset is self.splits.get("train"):
            return CropSampler(dataset, shuffle, global_seed(), rank, processes)
        return super()._sampler(dataset, shuffle)

    def augmented(self, augmentation: Augmentation, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented images and masks."""
        return augmentation.with_masks(images, targets, self.ignore_index)

    def split_columns(self, part: str, positions: Tensor) -> Columns:
        """Return the column with the file of images of a split, given their positions in the split."""
        if self._split_samples is None:  # new labeled images
            return {}
        samples, splits = self._split_samples
        return sources_of(samples, splits[part][positions])

    # For a report, in which a sample is an image

    def num_samples(self, part: str) -> int:
        return len(self._crops(part).members)

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        """Return an image and its mask."""
        crops = self._crops(part)
        index = int(crops.members[position])
        return {"image": to_png(crops.pairs.images[index], self.white), "mask": mask_to_png(crops.pairs.masks[index])}

    def predicted_mask(self, part: str, position: int, predict: Callable[[Any], Tensor]) -> bytes:
        """Return the predicted mask of an image as PNG.

        Args:
            part: train, val or test.
            position: Position of the image in the split.
            predict: Returns the mask of an image `(height, width)`, given its overlapping tiles.
        """
        crops = self._crops(part)
        member = crops.members[position : position + 1]
        return mask_to_png(predict(self._tiled(crops.pairs.images, member, crops.pairs.sizes[member])))

    def describe_inputs(self, part: str) -> dict[str, Any]:
        """Return statistics of the sizes of the images, in pixels, and of their brightness."""
        crops = self._crops(part)
        heights, widths = crops.pairs.sizes[crops.members].T.numpy()
        values = {"height": heights, "width": widths, **self.slice_values(part, torch.arange(len(crops.members)))}
        return {name: describe_numbers(numbers) for name, numbers in values.items()}

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return the mean brightness of images, where black is 0 and white is 1."""
        crops = self._crops(part)
        members = crops.members[positions]
        means = crops.pairs.sums[members, 0].mean(1) / crops.pairs.sizes[members].prod(1)
        return {"brightness": [round(mean / self.white, 4) for mean in means.tolist()]}

    def _crops(self, part: str) -> MaskedCrops:
        return cast(MaskedCrops, self.splits[part])

    # New images

    def test_for_prediction(self) -> ArrayDataset:
        """Return the overlapping tiles of the images of the test split."""
        test = cast(MaskedCrops, self.splits["test"])
        assert self._split_samples is not None
        samples, indices = self._split_samples[0], self._split_samples[1]["test"]
        names = None if samples.is_positional else [samples.describe(index) for index in indices.tolist()]
        return self._tiled(test.pairs.images, test.members, test.pairs.sizes[test.members], names)

    def iter_new(self, path: Path, batch_size: int) -> Iterator[NewChunk]:
        # A chunk is in memory at once, and its images have any size. Batches of tiles may span several chunks.
        return super().iter_new(path, min(batch_size, _CHUNK_IMAGES))

    def load_predict(self, path: Path) -> ArrayDataset:
        if "mean" not in vars(self):  # no checkpoint
            self.ensure_setup()
        files = new_files(path, SUFFIXES, "image")
        images, members, sizes = self._read_new(files)
        return self._tiled(images, members, sizes, names_in(path, [files[i] for i in members.tolist()]))

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        """Return the tiles of new images: files, folders, PIL images, or uint8 arrays, of any size.

        Arrays are `(H, W)`, `(H, W, C)` or `(C, H, W)`.
        """
        if (files := self.list_files(inputs)) is not None:
            images, members, sizes = self._read_new(files)
            return self._tiled(images, members, sizes, [str(files[i]) for i in members.tolist()])
        pixels = [image for item in as_items(inputs) for image in self._images_in(item)]
        return self._tiled(pixels, torch.arange(len(pixels)), torch.tensor([image.shape[1:] for image in pixels]))

    def describe_reading(self) -> dict[str, Any]:
        """Return the size of a tile, and the fraction of its sides that neighboring tiles share."""
        return {**super().describe_reading(), "overlap": self.overlap}

    def sample_columns(self) -> Columns:
        """Return the column with the file of each predicted image."""
        assert isinstance(self.predicted, TiledImages)
        return {"file": self.predicted.names}

    def _read_new(self, files: list[Path]) -> tuple[FullSizeImages, Tensor, Tensor]:
        """Return the images in files, the indices of those that can be read, and their sizes `(indices, 2)`."""
        images = self.open_images(files, self.memory_budget * 1e9)
        sizes = torch.zeros(len(files), 2, dtype=torch.long)

        def read(index: int) -> None:
            sizes[index] = torch.tensor(images.load(index).shape[1:])

        _, broken = read_all(files, read, self.skip_broken, "image")
        readable = (~broken).nonzero().squeeze(1)
        return images, readable, sizes[readable]

    def open_images(self, files: list[Path], memory: float) -> FullSizeImages:
        """Return images with as many channels as in training, each of its own size. They are not read yet.

        Args:
            files: The files.
            memory: See `FullSizeImages`.
        """
        read = partial(
            read_image,
            channels=self.channels,
            white=self.white,
            value_range=self.value_range,
            max_pixels=self.max_pixels,
        )
        return FullSizeImages(files, read, memory)

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        channels = self.input_shape[0]
        assert channels is not None
        return channels

    def _images_in(self, item: Any) -> list[Tensor]:
        """Return the images of an item, `(channels, H, W)` each."""
        channels = self.channels
        if is_path(item):
            images, members, _ = self._read_new(new_files(Path(item), SUFFIXES, "image"))
            return [images[i] for i in members.tolist()]
        if isinstance(item, Image.Image):
            try:
                return [to_pixels(item, (channels, None, None), self.white, self.value_range)]
            except BrokenFileError as error:
                raise InputError(f"the image cannot be converted: {error}") from error
        pixels = self._as_pixels(item)
        if pixels.ndim == 2 and channels == 1:
            return [pixels.unsqueeze(0)]
        if pixels.ndim in (3, 4):
            batch = pixels if pixels.ndim == 4 else pixels.unsqueeze(0)
            if batch.shape[1] != channels:
                batch = batch.movedim(-1, 1)
            if batch.shape[1] == channels:
                return list(batch)
        raise InputError(
            f"expected an image of shape ({channels}, height, width), of any size, got an array of shape "
            f"{tuple(pixels.shape)}"
        )

    def _tiled(self, images: Images, members: Tensor, sizes: Tensor, names: list[str] | None = None) -> ArrayDataset:
        names = [f"image_{index}" for index in range(len(sizes))] if names is None else names
        shape = cast(tuple[int, int, int], tuple(self.input_shape))
        return cast(ArrayDataset, TiledImages(images, members, sizes, names, shape, self.overlap))


def _defines_masks(augmentation: Augmentation) -> bool:
    return type(augmentation).with_masks is not Augmentation.with_masks


def read_image(path: Path, channels: int, white: int, value_range: Sequence[float] | None, max_pixels: int) -> Tensor:
    """Return an image in its own size, uint8 `(channels, H, W)`; see `to_pixels`.

    Raises:
        BrokenFileError: The image cannot be decoded.
    """
    with decode(read_content(path), max_pixels) as opened:
        return to_pixels(opened, (channels, None, None), white, value_range)
