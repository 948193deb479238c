"""Where the samples to explain come from: new inputs, the inputs stored in the run, or its test split."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from litnets.analysis.decode_stored import decode_stored
from litnets.analysis.explain.inputs import Example, prepare_examples
from litnets.analysis.predictor import Predictor
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.new_samples import Split
from litnets.data.core.raw_inputs import MAX_CHARACTERS, MAX_CONTENT_BYTES, MAX_SIDE
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.stored_inputs import StoredInput, load_inputs

_TEXT_FILES = (".txt", ".csv", ".tsv", ".jsonl")


def read_examples(predictor: Predictor, sources: Sequence[str], limit: int) -> list[Example]:
    """Return new inputs, prepared.

    Args:
        predictor: Its DataModule reads them.
        sources: Files and folders; or, for a network that reads texts, texts.
        limit: The number of inputs. Further ones are left out.

    Raises:
        InputError: An input cannot be read.
    """
    return list(islice((example for source in sources for example in _iter_source(predictor, source, limit)), limit))


def _iter_source(predictor: Predictor, source: str, limit: int) -> Iterator[Example]:
    datamodule, path = predictor.datamodule, Path(source)
    is_text = _is_text(datamodule, source)
    for chunk in datamodule.iter_lines([source], 1) if is_text else datamodule.iter_new(path, limit):
        loaded, errors = chunk.load()
        if errors:
            raise errors[0]
        assert loaded is not None
        samples, columns = loaded
        if is_text:
            names = [source]
        elif "file" in columns:
            names = [Path(str(file)).name for file in columns["file"]]
        else:
            names = [f"{path.name}, row {row}" for row in columns["row"]]
        if isinstance(samples, HasTiles) and len(samples.tiles) > len(names):
            names = [f"{names[image]} at ({top}, {left})" for image, top, left in samples.tiles.tolist()]
        yield from prepare_examples(predictor, samples, range(len(samples)), names)


@runtime_checkable
class HasTiles(Protocol):
    """Images that are read as tiles: the image, top and left of each, `(tiles, 3)`."""

    tiles: Tensor


def _is_text(datamodule: ArrayDataModule, source: str) -> bool:
    """Return whether a source is a text itself rather than the path of a file or folder."""
    path = Path(source)
    return datamodule.input_kind == "text" and path.suffix.lower() not in _TEXT_FILES and not path.exists()


def stored_examples(predictor: Predictor, run: Run, limit: int) -> list[Example]:
    """Return inputs of the test split that are stored in the run, spread evenly, without those that were cut or scaled.

    Raises:
        InputError: inputs.parquet is damaged, or the network cannot read what it holds.
    """
    if not run.inputs.exists():
        return []
    stored = [one for one in load_inputs(run.inputs) if one.split == "test" and one.role == "example"]
    complete = [one for one in stored if _is_complete(one, predictor.datamodule)]
    positions = torch.linspace(0, len(complete) - 1, min(limit, len(complete))).round().int().tolist()
    examples: list[Example] = []
    for position in positions:
        one = complete[position]
        try:
            samples = predictor.datamodule.read_inputs(decode_stored(one, predictor.datamodule))
        except InputError as error:  # such as images of floats, which were stored as pixels
            raise InputError(
                f"{run.inputs} holds no inputs that the network can read ({error}); pass an INPUT"
            ) from error
        examples += prepare_examples(predictor, samples, [0], [f"test {one.index}"])
    return examples


def _is_complete(stored: StoredInput, datamodule: ArrayDataModule) -> bool:
    """Return whether a stored input is what the network read: a large one was cut or scaled down, see `raw_inputs`."""
    if stored.kind in ("mask", "predicted_mask"):
        return False
    if stored.kind == "image":
        width, height = decode_stored(stored, datamodule).size
        return (height, width) == tuple(datamodule.input_shape[1:]) or max(width, height) < MAX_SIDE
    return len(stored.content) < (MAX_CHARACTERS if stored.kind == "text" else MAX_CONTENT_BYTES)


def examples_of_test_split(predictor: Predictor, split: Split, limit: int) -> list[Example]:
    """Return random samples of the test split, the same ones every time.

    Args:
        predictor: Prepares them.
        split: The test split.
        limit: The number of samples.
    """
    indices = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:limit].sort().values.tolist()
    return prepare_examples(predictor, split, indices, [f"test {index}" for index in indices])
