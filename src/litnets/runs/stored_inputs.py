"""inputs.parquet: the inputs that a report shows.

    for stored in load_inputs(run.inputs):
        print(stored.split, stored.index, stored.role, stored.kind, len(stored.content))

The file holds at most MAX_INPUTS inputs, in at most MAX_BYTES. Columns:

    split       train, val or test
    index       position of the input in its split, as in test_predictions.parquet
    role        `example`: one of a few inputs of each class; `mistake`: an input of a large loss, the largest first
    kind        what `content` holds, see `Kind`
    content     the input as it was read, before it was normalized

A segmented image has three rows: the image, its mask, and the mask that was predicted.
"""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from litnets.runs.storage import damaged, not_written
from litnets.safety import files

if TYPE_CHECKING:
    import polars
    from PIL import Image

MAX_INPUTS = 200
MAX_BYTES = 2_000_000
_MAX_SIDE = 1000  # pixels of an image; large ones are scaled down before they are stored
MAX_CONTENT_BYTES = MAX_BYTES - 50_000  # the other columns take the rest

Role = Literal["example", "mistake"]

# What the bytes of an input are:
# - image: PNG
# - text: UTF-8
# - audio: WAV; a long recording is cut
# - series: .npy, float32 `(steps, channels)`; of a forecast the window and then the truth, whose number of steps is
#   `horizon` in data.json
# - row: JSON, an object with the cell of each column
# - mask, predicted_mask: PNG whose gray values are the classes
Kind = Literal["image", "text", "audio", "series", "row", "mask", "predicted_mask"]


@dataclass(frozen=True)
class StoredInput:
    """An input in inputs.parquet; see the module for the fields."""

    split: str
    index: int
    role: Role
    kind: Kind
    content: bytes


_COLUMNS = [field.name for field in fields(StoredInput)]


def load_inputs(path: Path) -> list[StoredInput]:
    """Return the inputs in a file, in their order.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file is damaged.
    """
    import polars as pl

    with files.open_regular(path) as file:
        try:
            frame = pl.read_parquet(file).select(_COLUMNS)
        except pl.exceptions.PolarsError as error:
            raise damaged(path, " ".join(str(error).split())[:200]) from error
    if frame.schema != _schema():
        raise damaged(path, f"expected columns of the types {', '.join(map(str, _schema().dtypes()))}")
    if any(frame.null_count().row(0)):
        raise damaged(path, "a cell is empty")
    stored = [StoredInput(*row) for row in frame.iter_rows()]
    for one in stored:
        if one.kind == "row" and not _is_json_object(one.content):
            raise damaged(path, f"{one.split} {one.index}: expected a row as a JSON object")
    return stored


def _is_json_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


def open_image(content: bytes) -> "Image.Image":
    """Return a stored image.

    Raises:
        ValueError: It is larger than any that litnets stores.
        OSError: It is damaged.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(content))
    if max(image.size) > _MAX_SIDE:
        raise ValueError(f"an image of {image.width} x {image.height} pixels")
    image.load()
    return image


def save_inputs(path: Path, inputs: Iterable[StoredInput]) -> None:
    """Write a file completely or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    import polars as pl

    frame = pl.DataFrame([astuple(stored) for stored in inputs], schema=_schema(), orient="row")
    try:
        with files.replacing(path) as file:
            frame.write_parquet(file)
    except OSError as error:
        raise not_written(path, error) from error


def _schema() -> "polars.Schema":
    """Return the types of the columns."""
    import polars as pl

    return pl.Schema(zip(_COLUMNS, (pl.String, pl.Int64, pl.String, pl.String, pl.Binary), strict=True))


def take(samples: Iterable[Sequence[StoredInput]], max_inputs: int, max_bytes: int) -> list[StoredInput]:
    """Return the inputs of the first samples that fit within the limits, without the samples that are too large.

    Args:
        samples: The inputs of each sample: one, or an image and its masks.
        max_inputs: Number of inputs to return.
        max_bytes: Size of their contents.
    """
    taken: list[StoredInput] = []
    for sample in samples:
        size = sum(len(stored.content) for stored in sample)
        if len(taken) + len(sample) <= max_inputs and size <= max_bytes:
            taken += sample
            max_bytes -= size
    return taken
