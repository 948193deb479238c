"""Write the predicted mask of each image as a PNG, image by image, and predictions.csv at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from litnets.errors import InputError
from litnets.runs.storage import not_written, write_text
from litnets.safety.files import replacing
from litnets.training.predictions import to_csv


class MaskFolder:
    """The files of predicted masks: a table, such as predictions.csv, and a folder of the same name next to it.

    The folder contains

    - `masks/NAME.png`: the class index of each pixel, as a palette image of the same size as the input image;
    - `overlays/NAME.jpg`: the image, blended with the colors of the classes;
    - `classes.csv`: the index, name and color of each class.

    The columns of the table are the `index` of the image, its `file`, its `mask` and `overlay`, the mean
    `probability` of the predicted classes, and, as `fraction_NAME`, the fraction of the pixels in each class.

    Args:
        path: The table. The folder has the same name, without suffix.
        class_names: Names of the classes.
    """

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self.path, self.class_names = path, list(class_names)
        self.folder = path.with_suffix("")
        self.palette = voc_palette(len(self.class_names))

    def write(self, name: str, stem: str, image: Tensor, stitched: Any) -> list[Any]:
        """Write mask and overlay of an image, and return the cells of its row without the index.

        Args:
            name: Name of the image in the table.
            stem: Name of the mask and the overlay; see `unique_stems`.
            image: The image, uint8 `(channels, H, W)`.
            stitched: The prediction, such as `litnets.data.images.tiles.Stitched`.
        """
        mask, overlay = self.folder / "masks" / f"{stem}.png", self.folder / "overlays" / f"{stem}.jpg"
        _save(mask_image(stitched.mask, self.palette), mask)
        _save(overlay_image(image, stitched.mask, self.palette), overlay)
        counts = stitched.mask.flatten().bincount(minlength=len(self.palette))
        files = [path.relative_to(self.path.parent).as_posix() for path in (mask, overlay)]
        return [name, *files, stitched.probability.mean().item(), *(counts / counts.sum()).tolist()]

    def write_tables(self, rows: Mapping[int, list[Any]]) -> None:
        """Write the table of the images, whose rows have their indices as keys, and the table of the classes."""
        fractions = [f"fraction_{name}" for name in self.class_names]
        header = ["index", "file", "mask", "overlay", "probability", *fractions]
        table = [[index, *rows[index]] for index in sorted(rows)]
        write_text(self.path, to_csv(dict(zip(header, zip(*table, strict=True), strict=True))))
        colors = ["#" + bytes(color).hex() for color in self.palette.tolist()]
        self.folder.mkdir(exist_ok=True)
        classes = to_csv({"index": range(len(colors)), "class": self.class_names, "color": colors})
        write_text(self.folder / "classes.csv", classes)


class MaskWriter(BasePredictionWriter):
    """Stitch the predictions for tiles together, and write the results of an image as soon as it is complete.

    The DataModule's `predicted` holds the tiles, such as `litnets.data.images.crops.TiledImages`.

    Args:
        path: The table of the `MaskFolder`, which the first process writes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(write_interval="batch")
        self.path = path
        self._files: MaskFolder | None = None
        self._tiles: Any = None
        self._stitcher: Any = None
        self._stems: list[str] = []
        self._rows: dict[int, list[Any]] = {}  # by the index of the image

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._tiles = getattr(datamodule, "predicted", None)
        if not hasattr(self._tiles, "stitcher"):
            raise InputError(
                f"predict: {type(datamodule).__name__} yields no tiles of images; derive it from SegmentationDataModule"
            )
        module: Any = pl_module
        self._files = MaskFolder(self.path, module.class_names)
        self._stitcher = self._tiles.stitcher(len(module.class_names))
        self._stems = unique_stems(self._tiles.names)
        self._rows = {}

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        assert batch_indices is not None
        assert self._files is not None
        for stitched in self._stitcher.add(prediction["probability"], batch_indices):
            index: int = stitched.index
            name, image = self._tiles.names[index], self._tiles.image(index)
            self._rows[index] = self._files.write(name, self._stems[index], image, stitched)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts: list[Any] = [self._rows]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._rows)
        self._rows = {}
        if trainer.is_global_zero and self._files is not None:
            self._files.write_tables({index: row for part in parts for index, row in part.items()})


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return a relative path without suffix for each file name.

    Names that differ only in their suffix keep it, such as `a.png` and `a.jpg`. Only the last part of a path is used if
    the path is absolute or contains `..`. If an earlier file already has the same path, the index of the file is added.
    """
    paths = [Path(name) for name in names]
    paths = [Path(path.name) if path.is_absolute() or ".." in path.parts else path for path in paths]
    count = Counter(path.with_suffix("") for path in paths)
    stems: dict[str, None] = {}
    for index, path in enumerate(paths):
        stem = (path if count[path.with_suffix("")] > 1 else path.with_suffix("")).as_posix()
        while stem in stems:
            stem = f"{stem}_{index}"
        stems[stem] = None
    return list(stems)


def voc_palette(num_classes: int) -> Tensor:
    """Return the palette of PASCAL VOC, uint8 `(num_classes, 3)`. It spreads the bits of an index over the colors."""
    index = torch.arange(num_classes).unsqueeze(1)
    bits = (index >> torch.arange(9)) & 1  # (classes, 9): the lowest three are the highest bits of the three colors
    return (bits.view(-1, 3, 3) << torch.tensor([7, 6, 5]).view(1, 3, 1)).sum(1).to(torch.uint8)


def mask_image(mask: Tensor, palette: Tensor) -> Image.Image:
    """Return a mask `(H, W)` as a palette image, whose pixels are class indices."""
    image = Image.fromarray(mask.numpy())
    image.putpalette(bytes(palette.flatten().tolist()))
    return image


def overlay_image(image: Tensor, mask: Tensor, palette: Tensor) -> Image.Image:
    """Blend an image, uint8 `(channels, H, W)`, with the colors of its mask `(H, W)`, in equal parts.

    Class 0, which is the background or has no meaning of its own, leaves the image as it is.
    """
    pixels = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)  # the first channel as gray
    pixels = pixels.movedim(0, 2)  # (H, W, 3)
    blended = pixels // 2 + palette[mask.long()] // 2
    return Image.fromarray(torch.where((mask == 0).unsqueeze(2), pixels, blended).numpy())


def _save(image: Image.Image, path: Path) -> None:
    """Write an image atomically, in the format that its suffix names."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            image.save(file, format={".png": "PNG", ".jpg": "JPEG"}[path.suffix])
    except OSError as error:
        raise not_written(path, error) from error
