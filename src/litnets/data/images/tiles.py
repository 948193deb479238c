"""Split large images into tiles, and stitch the predictions for overlapping tiles together."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

Size = tuple[int, int]  # height and width


def tile_starts(length: int, tile: int, overlap: int = 0) -> list[int]:
    """Return the starts of tiles along one side of an image. They cover the side, and the last one ends where it ends.

    Neighboring tiles share at least `overlap` pixels. A side that is not longer than a tile has one tile, at 0.
    """
    last = max(length - tile, 0)
    return [*range(0, last, tile - overlap), last]


def tile_positions(sizes: Tensor, tile: Size, overlap: Size = (0, 0)) -> Tensor:
    """Return the tiles of images: image index, top and left of each tile, `(tiles, 3)`, row by row.

    Args:
        sizes: Height and width of each image, `(images, 2)`.
        tile: Height and width of a tile.
        overlap: Smallest number of rows and columns that neighboring tiles share.
    """
    positions = [
        (image, top, left)
        for image, (height, width) in enumerate(sizes.tolist())
        for top in tile_starts(height, tile[0], overlap[0])
        for left in tile_starts(width, tile[1], overlap[1])
    ]
    return torch.tensor(positions, dtype=torch.long).view(-1, 3)


def ramp(length: int, overlap: int) -> Tensor:
    """Return weights along one side of a tile, `(length,)`, that fall linearly over the overlap at both ends.

    Where two tiles overlap by `overlap` pixels, at most half of `length`, their weights add up to 1.
    """
    distance = torch.arange(1, length + 1, dtype=torch.float32)  # from the outside
    return torch.minimum(distance, distance.flip(0)).clamp(max=overlap + 1) / (overlap + 1)


@dataclass(frozen=True)
class Stitched:
    """The prediction for an image.

    Args:
        index: Index of the image.
        mask: Predicted class of each pixel, uint8 `(H, W)`.
        probability: Probability of the predicted class, `(H, W)`.
        probabilities: Probability of each class, `(K, H, W)`; None unless the `Stitcher` keeps them.
    """

    index: int
    mask: Tensor
    probability: Tensor
    probabilities: Tensor | None = None


class Stitcher:
    """Averages the class probabilities of overlapping tiles, image by image.

    A tile has less weight towards its border, so that no seams appear. Only the probabilities of one row of tiles are
    in memory, unless `keep_probabilities` is set.

        stitcher = Stitcher(tiles, sizes, (256, 256), (64, 64), num_classes=3)
        for indices, probabilities in batches:
            for image in stitcher.add(probabilities, indices):
                save(image.index, image.mask)

    Args:
        tiles: Image index, top and left of each tile, `(tiles, 3)`; see `tile_positions`.
        sizes: Height and width of each image, `(images, 2)`.
        tile: Height and width of a tile.
        overlap: Smallest number of rows and columns that neighboring tiles share.
        num_classes: Number of classes K.
        keep_probabilities: Whether to return the probabilities of all classes, not only of the predicted one.
    """

    def __init__(
        self,
        tiles: Tensor,
        sizes: Tensor,
        tile: Size,
        overlap: Size,
        num_classes: int,
        keep_probabilities: bool = False,
    ) -> None:
        self.tiles, self.sizes, self.tile = tiles, sizes, tile
        self.num_classes, self.keep_probabilities = num_classes, keep_probabilities
        self.weight = torch.outer(ramp(tile[0], overlap[0]), ramp(tile[1], overlap[1]))
        self._image: _PartialImage | None = None

    def add(self, probabilities: Tensor, indices: Iterable[int] | Tensor) -> list[Stitched]:
        """Add tiles, and return the images that are complete.

        Args:
            probabilities: Class probabilities of the tiles, `(N, K, h, w)`.
            indices: Indices of the tiles, in increasing order over all calls, `(N,)`. No tile of an image may be
                missing.
        """
        done = []
        weight = self.weight.to(probabilities.device)
        for index, values in zip(map(int, indices), probabilities.float(), strict=True):
            image, top, left = self.tiles[index].tolist()
            if self._image is None:
                height, width = self.sizes[image].tolist()
                self._image = _PartialImage(
                    torch.zeros(self.num_classes, self.tile[0], width, device=values.device),
                    torch.zeros(self.tile[0], width, device=values.device),
                    torch.zeros(height, width, dtype=torch.uint8),
                    torch.zeros(height, width),
                    torch.zeros(self.num_classes, height, width) if self.keep_probabilities else None,
                )
            self._image.advance(top)
            self._image.add(values, weight, left)
            if index + 1 == len(self.tiles) or int(self.tiles[index + 1, 0]) != image:  # its last tile
                complete, self._image = self._image, None
                complete.advance(len(complete.mask))
                done.append(Stitched(image, complete.mask, complete.probability, complete.probabilities))
        return done


@dataclass
class _PartialImage:
    """The prediction for an image, complete above the row `top`.

    Args:
        total: Weighted sum of the probabilities in the row of tiles that starts at `top`, `(K, h, W)`.
        weight: Sum of the weights in this row of tiles, `(h, W)`.
        mask: See `Stitched`.
        probability: See `Stitched`.
        probabilities: See `Stitched`.
        top: First row that is not complete.
    """

    total: Tensor
    weight: Tensor
    mask: Tensor
    probability: Tensor
    probabilities: Tensor | None
    top: int = 0

    def add(self, values: Tensor, weight: Tensor, left: int) -> None:
        """Add a tile that starts at the row `top`, without its padding on the right."""
        width = min(values.shape[2], self.weight.shape[1] - left)
        self.total[:, :, left : left + width] += (values * weight)[:, :, :width]
        self.weight[:, left : left + width] += weight[:, :width]

    def advance(self, top: int) -> None:
        """Complete the rows above `top`, to which no other tile contributes."""
        rows = top - self.top
        if not rows:
            return
        average = self.total[:, :rows] / self.weight[:rows]
        probability, classes = average.max(0)
        done = slice(self.top, top)
        self.mask[done], self.probability[done] = classes.to("cpu", torch.uint8), probability.cpu()
        if self.probabilities is not None:
            self.probabilities[:, done] = average.cpu()
        self.total = torch.cat([self.total[:, rows:], torch.zeros_like(self.total[:, :rows])], 1)
        self.weight = torch.cat([self.weight[rows:], torch.zeros_like(self.weight[:rows])])
        self.top = top
