"""Write the predicted mask of each image as a PNG, image by image, and predictions.csv at the end."""

from collections import Counter
from collections.abc import Sequence
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


class MaskWriter(BasePredictionWriter):
    """Stitch the predictions for tiles together, and write the results of an image as soon as it is complete.

    The folder `predictions`, next to `predictions.csv`, contains

    - `masks/NAME.png`: the class index of each pixel, as a palette image of the same size as the input image;
    - `overlays/NAME.jpg`: the image, blended with the colors of the classes;
    - `classes.csv`: the index, name and color of each class.

    The columns of predictions.csv are the `index` of the image, its `file`, its `mask` and `overlay`, the mean
    `probability` of the predicted classes, and, as `fraction_NAME`, the fraction of the pixels in each class.

    The DataModule's `predicted` holds the tiles, such as `litnets.data.images.crops.TiledImages`.

    Args:
        path: The path of predictions.csv, which the first process writes. The folder has the same name, without suffix.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(write_interval="batch")
        self.path = path
        self.folder = path.with_suffix("")
        self._tiles: Any = None
        self._stitcher: Any = None
        self._stems: list[str] = []
        self._palette = torch.empty(0)
        self._rows: dict[int, list[Any]] = {}  # by the index of the image

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._tiles = getattr(datamodule, "predicted", None)
        if not hasattr(self._tiles, "stitcher"):
            raise InputError(
                f"predict: {type(datamodule).__name__} yields no tiles of images; derive it from SegmentationDataModule"
            )
        self._stitcher = self._tiles.stitcher(len(_class_names(pl_module)))
        self._stems = unique_stems(self._tiles.names)
        self._palette = voc_palette(len(_class_names(pl_module)))
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
        for stitched in self._stitcher.add(prediction["probability"], batch_indices):
            index: int = stitched.index
            stem = self._stems[index]
            mask, overlay = self.folder / "masks" / f"{stem}.png", self.folder / "overlays" / f"{stem}.jpg"
            _save(mask_image(stitched.mask, self._palette), mask)
            _save(overlay_image(self._tiles.image(index), stitched.mask, self._palette), overlay)
            counts = stitched.mask.flatten().bincount(minlength=len(self._palette))
            files = [path.relative_to(self.path.parent).as_posix() for path in (mask, overlay)]
            numbers = [stitched.probability.mean().item(), *(counts / counts.sum()).tolist()]
            self._rows[index] = [self._tiles.names[index], *files, *numbers]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts: list[Any] = [self._rows]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._rows)
        self._rows = {}
        if not trainer.is_global_zero:
            return
        rows = {index: row for part in parts for index, row in part.items()}
        names = _class_names(pl_module)
        header = ["index", "file", "mask", "overlay", "probability", *(f"fraction_{name}" for name in names)]
        table = [[index, *rows[index]] for index in sorted(rows)]
        write_text(self.path, to_csv(dict(zip(header, zip(*table, strict=True), strict=True))))
        colors = ["#" + bytes(color).hex() for color in self._palette.tolist()]
        self.folder.mkdir(exist_ok=True)
        classes = to_csv({"index": range(len(names)), "class": names, "color": colors})
        write_text(self.folder / "classes.csv", classes)


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
    """Blend an image, uint8 `(channels, H, W)`, with the colors of its mask `(H, W)`, in equal parts."""
    pixels = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)  # the first channel as gray
    colors = palette[mask.long()]  # (H, W, 3)
    return Image.fromarray((pixels.movedim(0, 2) // 2 + colors // 2).numpy())


def _class_names(module: Any) -> list[str]:
    return list(module.class_names)


def _save(image: Image.Image, path: Path) -> None:
    """Write an image atomically, in the format that its suffix names."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            image.save(file, format={".png": "PNG", ".jpg": "JPEG"}[path.suffix])
    except OSError as error:
        raise not_written(path, error) from error
