"""Batches of crops from images of different sizes: random crops for training, and the tiles of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from litnets.data.core.batching import EpochSampler
from litnets.data.images.tiles import Size, Stitcher, tile_positions

IGNORE_INDEX = 255  # class of the pixels of a mask that do not count


class Images(Protocol):
    """Images or masks, each of its own size: a list of tensors, or `FullSizeImages`."""

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class MaskedImages:
    """Images, each of its own size, with their masks.

    Args:
        images: Images, uint8 `(C, H, W)` each, in memory or read when they are indexed.
        masks: Class of each pixel, uint8 `(H, W)` each; `IGNORE_INDEX` for those that do not count.
        sizes: Height and width of each image, `(images, 2)`.
        sums: Sum and sum of squares of the pixels in each channel of each image, `(images, 2, C)`.
        counts: Number of pixels of each class in each mask, `(images, K)`.
    """

    images: Images
    masks: Images
    sizes: Tensor
    sums: Tensor
    counts: Tensor

    @classmethod
    def stacked(cls, images: Tensor, masks: Tensor, num_classes: int) -> "MaskedImages":
        """Combine images of one size in memory, `(images, C, H, W)`, with their masks, `(images, H, W)`."""
        return cls(
            images,
            masks,
            torch.tensor(masks.shape[1:]).expand(len(masks), 2),
            torch.stack([channel_sums(image) for image in images]),
            torch.stack([mask.flatten().bincount(minlength=256)[:num_classes] for mask in masks]),
        )


def channel_sums(image: Tensor) -> Tensor:
    """Return the exact sum and sum of squares of each channel, `(2, C)`, of a uint8 image `(C, H, W)`."""
    values = image.flatten(1).double()  # float64 represents all integers below 2^53 exactly
    return torch.stack([values.sum(1), values.square_().sum(1)])


def read_windows(images: Images, crops: Tensor, shape: tuple[int, ...], fill: int = 0) -> Tensor:
    """Return parts of images, `(N, *shape)`, with `fill` where they reach beyond the image.

    Args:
        images: The images or masks, `(..., H, W)` each.
        crops: Image index, top and left of each crop, `(N, 3)`.
        shape: Shape of a crop, `(..., h, w)`.
        fill: Value outside the image.
    """
    out = torch.full((len(crops), *shape), fill, dtype=torch.uint8)
    height, width = shape[-2:]
    for crop, (image, top, left) in zip(out, crops.tolist(), strict=True):
        window = images[image][..., top : top + height, left : left + width]
        crop[..., : window.shape[-2], : window.shape[-1]] = window
    return out


class MaskedCrops(Dataset[tuple[Tensor, Tensor]]):
    """Crops of images with masks, all of one size.

    `dataset[i]` is a tile of a grid in which each pixel counts exactly once: the last tile of a row or column is moved
    back into the image, and the pixels that it shares with the tile before are ignored. `dataset[positions]` are the
    crops at these positions, which `CropSampler` samples. Images smaller than a crop are padded with zeros, and the
    padding is ignored.

    Args:
        pairs: The images and masks.
        members: Indices of the images of the split.
        tile: Height and width of a crop.

    Attributes:
        sample_positions: Position in the split of the image of each tile, `(tiles,)`.
    """

    def __init__(self, pairs: MaskedImages, members: Tensor, tile: Size) -> None:
        self.pairs, self.members, self.tile = pairs, members, tile
        self.tiles = tile_positions(pairs.sizes[members], tile)  # (tiles, 3)
        self.sample_positions = self.tiles[:, 0].clone()
        self.tiles[:, 0] = members[self.sample_positions]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return a tile for an integer, tiles for indices `(N,)`, or crops for positions `(N, 3)`."""
        index = torch.as_tensor(index)
        if index.ndim == 2:
            return self._read(index)
        tiles = self.tiles[index.view(-1)]
        images, masks = self._read(tiles)
        # A tile that was moved back does not start at a multiple of its size. The tile before has counted its first
        # rows or columns.
        counted = -tiles[:, 1:] % torch.tensor(self.tile)  # (N, 2)
        for mask, (rows, columns) in zip(masks, counted.tolist(), strict=True):
            mask[:rows] = IGNORE_INDEX
            mask[:, :columns] = IGNORE_INDEX
        return (images, masks) if index.ndim else (images[0], masks[0])

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        return self[torch.as_tensor(indices)]

    def _read(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        channels = self.pairs.sums.shape[2]
        images = read_windows(self.pairs.images, crops, (channels, *self.tile))
        return images, read_windows(self.pairs.masks, crops, self.tile, IGNORE_INDEX)


class CropSampler(EpochSampler):
    """Random crops of the images of a split, as many of each image as it has tiles, ordered like `EpochSampler`.

    Args:
        dataset: The split.
        shuffle: Whether to shuffle the crops and sample their positions. Otherwise, the crops are the tiles, in order.
        seed: Seed of the order and of the positions.
        rank: Rank of this process.
        num_replicas: Number of processes.
    """

    def __init__(
        self, dataset: MaskedCrops, shuffle: bool, seed: int = 0, rank: int = 0, num_replicas: int = 1
    ) -> None:
        super().__init__(len(dataset), shuffle, seed, rank, num_replicas)
        self.dataset = dataset

    def order(self) -> Tensor:
        """Return image index, top and left of the crops of this process in this epoch, `(len(self), 3)`."""
        crops = self.dataset.tiles[super().order()]
        if not self.shuffle:
            return crops
        images = crops[:, 0]
        choices = (self.dataset.pairs.sizes[images] - torch.tensor(self.dataset.tile)).clamp(min=0) + 1  # (crops, 2)
        # The positions have a random stream for each process, which differs from the stream of the order.
        generator = torch.Generator().manual_seed((self.epoch_seed ^ 0x5DEECE66D) + self.rank)
        corners = torch.randint(2**62, choices.shape, generator=generator) % choices
        return torch.cat([images.unsqueeze(1), corners], 1)


class TiledImages(Dataset[tuple[Tensor, Tensor]]):
    """Overlapping tiles of images to predict, in order; the target of each is a placeholder 0.

    Args:
        images: The images, uint8 `(C, H, W)` each.
        members: Indices of those to predict.
        sizes: Height and width of each of these, `(members, 2)`.
        names: Name of each of these.
        shape: Channels, height and width of a tile.
        overlap: Smallest fraction of a side of a tile that neighboring tiles share.
    """

    def __init__(
        self,
        images: Images,
        members: Tensor,
        sizes: Tensor,
        names: list[str],
        shape: tuple[int, int, int],
        overlap: float,
    ) -> None:
        self.images, self.members, self.sizes, self.names, self.shape = images, members, sizes, names, shape
        self.tile: Size = shape[1:]
        self.overlap: Size = (int(overlap * shape[1]), int(overlap * shape[2]))
        self.tiles = tile_positions(sizes, self.tile, self.overlap)  # (tiles, 3)

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return a tile for an integer, or tiles for indices `(N,)`."""
        index = torch.as_tensor(index)
        crops = self.tiles[index.view(-1)]
        crops[:, 0] = self.members[crops[:, 0]]
        windows = read_windows(self.images, crops, self.shape)
        return windows.view(*index.shape, *self.shape), torch.zeros(index.shape, dtype=torch.uint8)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        return self[torch.as_tensor(indices)]

    def image(self, index: int) -> Tensor:
        """Return an image, uint8 `(C, H, W)`."""
        return self.images[int(self.members[index])]

    def stitcher(self, num_classes: int, keep_probabilities: bool = False) -> Stitcher:
        """Return a `Stitcher` for the predictions for these tiles."""
        return Stitcher(self.tiles, self.sizes, self.tile, self.overlap, num_classes, keep_probabilities)


class WholeImageSampler(EpochSampler):
    """The tiles of every `num_replicas`-th image, in order, so that a process gets all tiles of an image.

    Args:
        dataset: The images.
        rank: Rank of this process.
        num_replicas: Number of processes.
    """

    def __init__(self, dataset: TiledImages, rank: int = 0, num_replicas: int = 1) -> None:
        super().__init__(len(dataset), shuffle=False, rank=rank, num_replicas=num_replicas)
        self.dataset = dataset

    def order(self) -> Tensor:
        return (self.dataset.tiles[:, 0] % self.num_replicas == self.rank).nonzero().squeeze(1)

    def __len__(self) -> int:
        return len(self.order())
