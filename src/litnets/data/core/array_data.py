"""ArrayData: arrays in memory, from NumPy, torch or pandas."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import ArrayDataset, gather
from litnets.data.core.fingerprint import Fingerprint, digest_rows
from litnets.data.core.inputs import as_array, as_items, check_finite
from litnets.data.core.predefined_splits import fixed_splits, split_the_rest
from litnets.data.core.raw_inputs import to_png
from litnets.data.core.scaling import Standardize, replace_zero_std
from litnets.data.core.splits import PARTS, SplitSpec, check_trained_on, split_indices
from litnets.data.core.target_encoding import EncodedTargets, Task, encode_targets, read_targets
from litnets.errors import InputError, alternatives

Array = NDArray[Any]
Kind = Literal["table", "images", "series"]

_SHAPES = {
    "table": ["(samples, features)"],
    "images": ["(samples, height, width)", "(samples, channels, height, width)", "(samples, height, width, channels)"],
    "series": ["(samples, steps, features)"],
}


class ArrayData(SplitDataModule):
    """Arrays in memory, one row per sample: tables, images or series, for classification or regression.

        data = ArrayData(images, labels, batch_size=64)
        run = litnets.fit(litnets.CNNClassifier, data, max_epochs=5)

    Tables are `(N, features)`, series `(N, steps, features)`. Images are `(N, height, width)`,
    `(N, channels, height, width)` or `(N, height, width, channels)`; uint8 images stay uint8 in memory. Each feature
    or channel is scaled to mean 0 and standard deviation 1, with the statistics of the training split.

    Integers, booleans and texts as targets are classes; floats are numbers to predict, `(N,)` or `(N, targets)`, which
    the model scales by their mean and standard deviation. A matrix of 0 and 1 with one 1 in each row is one-hot encoded
    classes; any other matrix of 0 and 1 is multi-label.

    To name data on the command line (`--data mine.Ring`), derive a class that makes the arrays::

        class Ring(ArrayData):
            def __init__(self, samples: int = 500, **options):
                points = np.random.default_rng(0).normal(size=(samples, 2))
                super().__init__(points, np.hypot(*points.T) < 1, **options)

    Args:
        inputs: Inputs of all samples, or of the training samples if there are other splits.
        targets: Their targets.
        val: Inputs and targets of the validation split; None to take it from the training samples.
        test: Inputs and targets of the test split; None likewise.
        kind: What the inputs are: `table`, `images` or `series`. Needed only for `(N, A, B)` that is not uint8; None
            to infer it from the shape.
        task: `classification` or `regression`; None to infer it from the dtype of the targets.
        class_names: Names of the classes, if the targets are integers from 0 or a matrix.
        target_names: Names of the numbers to predict.
        augment: Applied to training batches before they are scaled, one after the other. Default: none.
        **splitting: Arguments of `SplitDataModule` and `ArrayDataModule`.

    Raises:
        InputError: Inputs and targets differ in length, have an unsupported shape or dtype, or are not finite.
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        val: tuple[Any, Any] | None = None,
        test: tuple[Any, Any] | None = None,
        kind: Kind | None = None,
        task: Task | None = None,
        class_names: list[str] | None = None,
        target_names: list[str] | None = None,
        augment: list[Callable[[Tensor], Tensor]] | None = None,
        **splitting: Any,
    ) -> None:
        super().__init__(**splitting)
        parts = {"train": (inputs, targets), "val": val, "test": test}
        arrays = {name: _read_part(name, *part, kind) for name, part in parts.items() if part is not None}
        self.inputs = _concatenate([part_inputs for part_inputs, _ in arrays.values()])
        self.labels = encode_targets(
            np.concatenate(_same_dtype([part_targets for _, part_targets in arrays.values()])),
            task,
            class_names,
            target_names,
        )
        indices = torch.arange(len(self.inputs)).split([len(part_inputs) for part_inputs, _ in arrays.values()])
        self._parts = dict(zip(arrays, indices, strict=True))
        self.kind: Kind = kind or _kind_of(self.inputs)
        self.augment = augment or []

    # What a model needs to know

    @property
    def input_shape(self) -> tuple[int | None, ...]:  # type: ignore[override]
        return tuple(self.inputs.shape[1:])

    @property
    def class_names(self) -> list[str] | None:
        return self.labels.class_names

    @property
    def num_classes(self) -> int | None:  # type: ignore[override]
        return None if self.class_names is None else len(self.class_names)

    @property
    def multilabel(self) -> bool:
        """Whether a sample can belong to several classes."""
        return self.class_names is not None and self.labels.values.ndim > 1

    @property
    def target_names(self) -> list[str] | None:
        return self.labels.target_names

    @property
    def num_targets(self) -> int | None:
        return None if self.target_names is None else len(self.target_names)

    @property
    def target_mean(self) -> list[float] | None:
        return None if self.target_names is None else self._training_targets().mean(0).tolist()

    @property
    def target_std(self) -> list[float] | None:
        return None if self.target_names is None else replace_zero_std(self._training_targets().std(0, correction=0))

    def _training_targets(self) -> Tensor:
        self.ensure_setup()
        return self.labels.values[self.splits["train"].indices].double()

    # Splits and batches

    def load(self) -> dict[str, ArrayDataset]:
        values, size = self.labels.values, len(self.inputs)
        classes = values if self.class_names is not None and values.ndim == 1 else None
        samples = Fingerprint.of_rows(digest_rows(self.inputs, values), [len(part) for part in self._parts.values()])

        def split(pool: Tensor, spec: SplitSpec) -> Sequence[Tensor]:
            return split_indices(None if classes is None else classes[pool], len(pool), spec)

        def propose() -> list[Tensor]:
            return split_the_rest(self._parts, size, self.split_spec, split)

        splits = self.assign_splits(samples, propose, fixed_splits(self._parts, size, self.split_spec))
        if classes is not None and self.class_names is not None:
            check_trained_on(self.class_names, classes[splits["train"]], "sample")
        return {part: ArrayDataset(self.inputs, values, splits[part]) for part in PARTS}

    def preparation(self) -> Standardize:
        return Standardize(*self._statistics, (-1, 1, 1) if self.kind == "images" else (-1,))

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each feature or channel of the training split, computed in float64."""
        self.ensure_setup()
        axis = 1 if self.kind == "images" else -1
        chunks = self.splits["train"].indices.sort().values.split(max(1, 2**20 // max(1, self.inputs[0].numel())))

        def mean(function: Callable[[Tensor], Tensor]) -> Tensor:
            total, count = torch.zeros(self.inputs.shape[axis], dtype=torch.float64), 0
            for chunk in chunks:
                values = gather(self.inputs, chunk).double().movedim(axis, -1).flatten(0, -2)
                total += function(values).sum(0)
                count += len(values)
            return total / count

        center = mean(lambda values: values)
        return center.tolist(), replace_zero_std(mean(lambda values: (values - center).square()).sqrt())

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        inputs, targets = batch
        if self.trainer is not None and self.trainer.training:
            for augmentation in self.augment:
                inputs = augmentation(inputs)
        return self.prepare(inputs), targets if targets.is_floating_point() else targets.long()

    # For a report

    @property
    def input_kind(self) -> str:
        return {"table": "row", "images": "image", "series": "series"}[self.kind]

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        values = self._read_input(part, position)
        if self.kind != "images" or values.dtype == torch.uint8:
            return super().raw_input(part, position)
        low, high = values.aminmax()
        return {"image": to_png(((values - low) * (255 / (high - low).clamp(min=1e-12))).round().to(torch.uint8))}

    # New inputs and checkpoints

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        """Return new samples: an array of samples, a single sample, or a list of them, with the shape of training."""
        shape = self.input_shape
        items = []
        for item in as_items(inputs) if isinstance(inputs, (list, tuple)) else [inputs]:
            array = as_array(item, "an array of numbers")
            items.append(_to_inputs("inputs", array[None] if self._is_single(array) else array, self.kind))
        samples = _concatenate(items)
        if samples.shape[1:] != self.inputs.shape[1:]:
            raise InputError(f"expected samples of shape {shape} as in training, got {tuple(samples.shape[1:])}")
        if (samples.dtype == torch.uint8) != (self.inputs.dtype == torch.uint8):
            expected, actual = self.inputs.dtype, samples.dtype
            raise InputError(f"expected {expected} as in training, got {actual}; the scaling of training is applied")
        return ArrayDataset(samples, torch.zeros(len(samples)))

    @classmethod
    def build_for_inputs(cls, arguments: dict[str, Any], state: Mapping[str, Any]) -> Self:
        if cls.__init__ is not ArrayData.__init__:
            return super().build_for_inputs(arguments, state)
        data = cls.__new__(cls)
        SplitDataModule.__init__(data, eval_batch_size=arguments.get("eval_batch_size", 1024))
        dtype = torch.uint8 if state["is_uint8"] else torch.float32
        data.inputs, data.kind = torch.empty(0, *state["input_shape"], dtype=dtype), state["kind"]
        data.labels = EncodedTargets(torch.empty(0), state["class_names"])
        return data

    def _is_single(self, array: Array) -> bool:
        """Return whether an array is one sample. Gray images have no axis of channels, in whatever number."""
        if self.kind == "images" and array.shape[-2:] == self.input_shape[1:] and self.input_shape[0] == 1:
            return array.ndim == 2
        return array.ndim == len(self.input_shape)

    def state_dict(self) -> dict[str, Any]:
        """Return the scaling of the inputs, so that a checkpoint scales them as in training."""
        mean, std = self._statistics
        return {
            "mean": mean,
            "std": std,
            "class_names": self.class_names,
            "input_shape": list(self.input_shape),
            "kind": self.kind,
            "is_uint8": self.inputs.dtype == torch.uint8,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, actual in (("class_names", self.class_names), ("input_shape", list(self.input_shape))):
            if actual != state_dict[name]:
                raise InputError(
                    f"the arrays have the {name} {actual}; the checkpoint was trained on {state_dict[name]}"
                )
        super().load_state_dict(state_dict)
        self._statistics = state_dict["mean"], state_dict["std"]


def _read_part(name: str, inputs: Any, targets: Any, kind: Kind | None) -> tuple[Tensor, Array]:
    """Return the inputs and targets of a split as arrays of the same length."""
    prefix = "" if name == "train" else f"{name} "
    samples = _to_inputs(f"{prefix}inputs", as_array(inputs, "an array of numbers"), kind)
    labels = read_targets(f"{prefix}targets", targets)
    if len(samples) != len(labels):
        raise InputError(f"{prefix}inputs and targets: expected equally many, got {len(samples)} and {len(labels)}")
    return samples, labels


def _to_inputs(name: str, array: Array, kind: Kind | None) -> Tensor:
    """Return inputs as uint8 or float32; images with the channels first."""
    is_bytes = array.dtype == np.uint8
    shape = array.shape
    if kind is None:
        if array.ndim == 3 and not is_bytes:
            raise InputError(
                f"{name}: an array of shape {shape} may hold gray images or series; set kind='images' or kind='series'"
            )
        kinds: dict[int, Kind] = {2: "table", 3: "images", 4: "images"}
        kind = kinds.get(array.ndim)
    if kind is None or array.ndim not in {"table": (2,), "images": (3, 4), "series": (3,)}[kind] or 0 in shape:
        expected = alternatives(chain.from_iterable(_SHAPES.values()) if kind is None else _SHAPES[kind])
        hint = "; for one feature, use inputs.reshape(-1, 1)" if array.ndim == 1 else ""
        raise InputError(f"{name}: expected shape {expected}, got {shape}{hint}")
    if kind == "images" and array.ndim == 4 and shape[3] <= 4 < shape[1]:
        array = np.moveaxis(array, 3, 1)
    elif kind == "images" and array.ndim == 3:
        array = array[:, None]
    with np.errstate(over="ignore"):  # infinity is refused below
        values = torch.from_numpy(np.array(array, np.uint8 if is_bytes else np.float32, order="C"))  # a copy
    if not is_bytes:
        check_finite(name, values)
    return values


def _concatenate(parts: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(part.shape[1:]) for part in parts}
    if len(shapes) > 1 or len({part.dtype for part in parts}) > 1:
        written = " and ".join(f"{tuple(part.shape[1:])} of {part.dtype}" for part in parts)
        raise InputError(f"expected samples of one shape and dtype, got {written}")
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def _same_dtype(parts: Sequence[Array]) -> Sequence[Array]:
    if len({(part.dtype.kind, part.shape[1:]) for part in parts}) > 1:
        written = " and ".join(f"{part.dtype} of shape {part.shape}" for part in parts)
        raise InputError(f"targets: expected the same kind in each split, got {written}")
    return parts


def _kind_of(inputs: Tensor) -> Kind:
    return "table" if inputs.ndim == 2 else "images"
