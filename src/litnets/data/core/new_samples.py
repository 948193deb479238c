"""Read samples that are new after training, to predict them or to evaluate on them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from litnets.data.core.batching import ArrayDataset, RaggedDataset
from litnets.data.core.class_folders import folder_targets
from litnets.data.core.listing import new_files
from litnets.data.core.new_chunks import NewChunk
from litnets.data.core.sample_columns import Columns
from litnets.errors import InputError

Split = ArrayDataset | RaggedDataset


class NewSamples(LightningDataModule):
    """Base class of `ArrayDataModule`: read new samples as in training, without the training files.

    `predict` reads them from `predict_path`, `test --on` from a path with labels, and `litnets.load(run).predict` from
    memory.
    """

    input_shape: tuple[int | None, ...]

    # The suffixes of the files with one new sample each that `iter_new` lists, and the name of such a file in messages.
    new_suffixes: ClassVar[Collection[str]] = ()
    new_kind: ClassVar[str] = "file"

    # The state in the checkpoint. It is set before the data are read, so that they are read as in training.
    trained_state: Mapping[str, Any] | None = None

    # Whether the training data can be read. They cannot if they were in the memory of another process.
    has_training_data: bool = True

    # The path of new samples to predict, and their file names, which are set when the samples are read.
    predict_path: Path | None = None
    sample_names: list[str] | None = None

    # The path of labeled samples that replace the test split, and the classes of the training; see `evaluate_on`.
    labeled_path: Path | None = None
    trained_classes: Sequence[str] | None = None

    def load_predict(self, path: Path) -> Split:
        """Return the new samples at `predict_path`, in order, with placeholder targets."""
        raise NotImplementedError(f"{type(self).__name__} has no predict_path")

    def iter_new(self, path: Path, batch_size: int) -> Iterator[NewChunk]:
        """Yield the new samples at a path in order, in chunks that are read later.

        This implementation is for files with one sample each, and folders of them.

        Args:
            path: The file or folder.
            batch_size: Each chunk but the last has this many samples, or a multiple of it.

        Raises:
            InputError: There are no such files.
        """
        if not self.new_suffixes:
            raise InputError(
                f"predict RUN INPUT cannot read files with {type(self).__name__}; use --data.predict_path NEW"
            )
        files = new_files(path, self.new_suffixes, self.new_kind)
        for start in range(0, len(files), batch_size):
            chunk = files[start : start + batch_size]
            yield NewChunk(chunk, list(map(str, chunk)), self._read_new_files)

    def _read_new_files(self, files: list[Path]) -> tuple[Split, Columns]:
        return self.read_inputs(files), {"file": list(map(str, files))}

    def iter_lines(self, lines: Iterable[str], batch_size: int) -> Iterator[NewChunk]:
        """Yield the texts in the lines of standard input; see `iter_new`.

        Raises:
            InputError: These data are not texts.
        """
        raise InputError(f"standard input (-) holds one text per line, but {type(self).__name__} does not read texts")

    def carried_columns(self, part: str = "test") -> Columns:
        """Return the columns of the data to repeat in predictions.csv, with the target if new samples have one.

        Args:
            part: The split. It is ignored if new samples are predicted.
        """
        return {}

    def feature_groups(self) -> dict[str, list[int]]:
        """Return the features of the network's inputs by the column or channel that they encode.

        A feature is an index into the last axis of the prepared inputs. The columns are in the order of the inputs as
        they are read. This implementation returns no names.
        """
        return {}

    def raw_columns(self) -> dict[str, list[int]]:
        """Return the columns of a raw row by the column of the file that they encode, such as the parts of a date.

        This implementation returns no names.
        """
        return {}

    def decode_tokens(self, tokens: Tensor) -> list[str]:
        """Return the token of each index in a text, `(T,)`.

        Raises:
            NotImplementedError: These data are not texts.
        """
        raise NotImplementedError(f"{type(self).__name__} does not read texts")

    def evaluate_on(self, path: Path, trained_classes: Sequence[str] | None) -> None:
        """Let `test` evaluate on labeled samples instead of the test split. The training files are not needed.

        Args:
            path: The samples, which are encoded as in training. All of them are evaluated.
            trained_classes: Class names of the training, in the order of their indices; None if there are no classes.
        """
        self.predict_path = self.labeled_path = path
        self.trained_classes = trained_classes

    def load_labeled(self, path: Path) -> Split:
        """Return the new samples at `path`, in order, with their targets.

        This implementation expects `path` to have one folder per class, with one file per sample.

        Raises:
            InputError: A file is outside the class folders, or a class was not trained on.
        """
        samples = self.load_predict(path)
        if self.sample_names is None or self.trained_classes is None:
            raise InputError(f"--on {path}: expected a folder with one folder of files per class")
        labels = folder_targets(path, self.sample_names, self.trained_classes)
        samples.targets = torch.zeros(len(samples.targets), dtype=torch.long)
        samples.targets[samples.indices] = labels
        return samples

    def read_inputs(self, inputs: Any) -> Split:
        """Return new samples, in order, with placeholder targets. The training data are not needed.

        Args:
            inputs: Files, arrays, tables or texts in the units of the data, or a list of them.

        Raises:
            InputError: The inputs differ in kind or shape from those of the training.
        """
        raise InputError(f"{type(self).__name__} cannot read new inputs, because it does not define read_inputs")

    def list_files(self, inputs: Any) -> list[Path] | None:
        """Return the files that inputs name, if all are files with one sample each, or folders of them; else None.

        `read_inputs` then accepts them in parts, so that they can be read while the network computes.
        """
        return None

    def describe_reading(self) -> dict[str, Any]:
        """Return how a file becomes a raw input of the exported network, as plain values for other programs.

        `kind` is what a file holds: `image`, `text`, `audio`, `series`, `row`, or `array` for arrays of raw inputs.
        """
        return {"kind": "array"}

    def restore_for_inputs(self, state: dict[str, Any]) -> None:
        """Load what was fitted on the training split, to read new inputs without the training data."""
        self.predict_path = Path()
        self.trained_state = state  # suppresses reports about the training data
        self.load_state_dict(state)

    @classmethod
    def build_for_inputs(cls, arguments: dict[str, Any], state: Mapping[str, Any]) -> Self:
        """Construct a DataModule to read new inputs, without the arrays in memory that it was trained on.

        Args:
            arguments: Those of its arguments that are not arrays or other data in memory.
            state: Its `state_dict`, from the checkpoint.

        Raises:
            TypeError: It cannot be constructed without the missing arguments.
        """
        return cls(**arguments)

    def _reads_new_samples(self, stage: str | None) -> bool:
        """Whether a stage reads only new samples, so that the training files are not needed."""
        return self.labeled_path is not None or (stage == "predict" and self.predict_path is not None)


def check_new_shape(module: NewSamples, state_dict: Mapping[str, Any]) -> None:
    """Raise InputError if new samples would not have the shape that the checkpoint's network expects."""
    trained_shape: Sequence[int | None] = state_dict.get("input_shape", module.input_shape)
    if module.predict_path is not None and tuple(trained_shape) != tuple(module.input_shape):
        raise InputError(
            f"the checkpoint was trained on inputs of shape {tuple(trained_shape)}, but these options of "
            f"{type(module).__name__} produce {tuple(module.input_shape)}; use the options of the run's config.yaml"
        )
