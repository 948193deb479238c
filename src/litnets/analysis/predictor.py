"""Predictor: a trained network that takes raw inputs, prepared as in training.

It has three parts. The DataModule reads files, texts and tables (`read_inputs`); `prepare` and `network` are modules
that compute with tensors only, so that they can be exported as a graph.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins import Precision
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision
from numpy.typing import NDArray
from torch import Tensor, nn

from litnets.analysis.calibration import MIN_SAMPLES
from litnets.analysis.load_run import SavedRun
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.new_samples import Split
from litnets.data.core.read_ahead import read_ahead
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.tasks import Task


class Predictor:
    """A trained network in evaluation mode, with the preparation of its inputs and the names of its classes.

        net = litnets.load("checkpoints/digits_cnn/<run>")
        net.predict(["a.png", "b.png"])     # array(['3', '7'])
        net.predict_proba(images)           # (N, 10)

    The predictions equal those of `litnets predict`. Inputs are in the units of the data: files, uint8 pixels, texts,
    rows of a table, series; see `read_inputs` of the DataModule. A single input gives an array with one entry.

    Args:
        network: The LightningModule.
        datamodule: Reads new inputs and prepares them, with what was fitted on the training split.
        run: The run of the network.
        precision: Lightning's precision, as in training.
        device: The device to compute on; None for the GPU if there is one.

    Attributes:
        network: The LightningModule. It takes prepared inputs.
        prepare: The module that prepares the inputs of a batch.
        classes: Names of the classes; None if the network predicts numbers.
        run: The run.
        precision: Lightning's precision.
    """

    def __init__(
        self,
        network: LightningModule,
        datamodule: ArrayDataModule,
        run: Run | None = None,
        precision: str = "32-true",
        device: str | torch.device | None = None,
    ) -> None:
        _check_preparation(type(datamodule))
        if device is None:
            device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
        self.device = torch.device(device)
        self.precision = precision
        self._precision = _precision_plugin(precision, self.device)
        self.network: LightningModule = self._precision.convert_module(network).to(self.device).eval()  # type: ignore[assignment]
        self.prepare: nn.Module = datamodule.preparation().to(self.device).eval()
        self.datamodule = datamodule
        self.run = run
        self.classes: list[str] | None = getattr(network, "class_names", None)

    def __repr__(self) -> str:
        return f"Predictor({type(self.network).__name__}, {self.run.folder if self.run else 'no run'})"

    @classmethod
    def load(
        cls,
        run: Run,
        checkpoint: Path | None = None,
        datamodule: ArrayDataModule | None = None,
        device: str | torch.device | None = None,
        trust: Iterable[str] = (),
    ) -> "Predictor":
        """Load the network of a run. The training data are not needed.

        Args:
            run: The run. Its configuration names the classes of the model and the data.
            checkpoint: The checkpoint; None for the best one.
            datamodule: The DataModule, if it cannot be constructed from the configuration.
            device: The device to compute on; None for the GPU if there is one.
            trust: Modules, with their submodules, that the run's configuration may name and import.

        Raises:
            InputError: A file is missing or damaged, or names a class that is not allowed.
        """
        saved = SavedRun.read(run, checkpoint, trust)
        network = saved.load_network()
        if datamodule is None:
            datamodule = saved.load_datamodule()
        else:
            saved.restore(datamodule)
        if isinstance(network, Task):
            network.check_data(datamodule)
        return cls(network, datamodule, run, saved.precision, device)

    def predict(self, inputs: Any, batch_size: int | None = None) -> NDArray[Any]:
        """Return a prediction for each input.

        These are the names of classes `(N,)`; 0 or 1 for each label `(N, labels)`; numbers in the units of the data,
        `(N,)` or `(N, targets)`; forecasts `(N, horizon, channels)`; or masks `(N, height, width)`, of indices into
        `classes`. Masks need images of one size; predict images of different sizes one by one.

        Args:
            inputs: One input, or a list, array or table of inputs.
            batch_size: Inputs per batch; None for the DataModule's `eval_batch_size`.

        Raises:
            InputError: There are no inputs, or they differ from those of the training.
        """
        prediction = self._predict(inputs, batch_size)["prediction"].numpy()
        is_index = prediction.ndim == 1 and prediction.dtype.kind == "i"
        return np.array(self.classes)[prediction] if self.classes is not None and is_index else prediction

    def predict_proba(self, inputs: Any, batch_size: int | None = None) -> NDArray[np.float32]:
        """Return the probability of each class or label for each input, `(N, classes)`, in the order of `classes`.

        The probabilities are calibrated if the run is (see `docs/calibration.md`).
        For masks, these are the probabilities of each pixel, `(N, classes, height, width)`.

        Args:
            inputs: One input, or a list, array or table of inputs.
            batch_size: Inputs per batch; None for the DataModule's `eval_batch_size`.

        Raises:
            InputError: The network does not predict classes, there are no inputs, or they differ from those of the
                training.
        """
        outputs = self._predict(inputs, batch_size, keep_probabilities=True)
        if "probability" not in outputs:
            raise InputError(f"predict_proba: {type(self.network).__name__} does not predict classes; use predict")
        return outputs["probability"].numpy()

    def predict_set(self, inputs: Any, batch_size: int | None = None) -> NDArray[np.bool_]:
        """Return whether the prediction set of each input includes each class or label, `(N, classes)`.

        At least 90% of the sets include the true class, or all true labels; see `docs/calibration.md`.

        Args:
            inputs: One input, or a list, array or table of inputs.
            batch_size: Inputs per batch; None for the DataModule's `eval_batch_size`.

        Raises:
            InputError: The network has no prediction sets, there are no inputs, or they differ from those of the
                training.
        """
        outputs = self._predict(inputs, batch_size)
        if "set" not in outputs:
            raise self._not_calibrated("predict_set", "prediction sets", "classifiers")
        return outputs["set"].numpy()

    def predict_interval(self, inputs: Any, batch_size: int | None = None) -> NDArray[np.float32]:
        """Return the bounds of the prediction interval of each number: `(N, 2)`, `(N, 2, targets)`, or, of forecasts,
        `(N, 2, horizon, channels)`. The lower bound comes first.

        At least 90% of the intervals of a target, or of a step and channel, include the true value; see
        `docs/calibration.md`.

        Args:
            inputs: One input, or a list, array or table of inputs.
            batch_size: Inputs per batch; None for the DataModule's `eval_batch_size`.

        Raises:
            InputError: The network has no prediction intervals, there are no inputs, or they differ from those of the
                training.
        """
        outputs = self._predict(inputs, batch_size)
        if "lower" not in outputs:
            raise self._not_calibrated("predict_interval", "prediction intervals", "networks that predict numbers")
        return torch.stack([outputs["lower"], outputs["upper"]], dim=1).numpy()

    def _not_calibrated(self, method: str, regions: str, networks: str) -> InputError:
        run = "RUN" if self.run is None else self.run.folder
        return InputError(
            f"{method}: this network has no {regions}, which {networks} get from a test with at least {MIN_SAMPLES} "
            f"validation samples; `litnets test {run}` calibrates the best checkpoint"
        )

    def _predict(self, inputs: Any, batch_size: int | None, keep_probabilities: bool = False) -> dict[str, Tensor]:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {batch_size}")
        batch_size = batch_size or self.datamodule.eval_batch_size
        with closing(self._read(inputs, batch_size)) as chunks:
            return self._predict_chunks(chunks, batch_size, keep_probabilities)

    def _read(self, inputs: Any, batch_size: int) -> Generator[Split]:
        """Yield inputs as samples. Many files are read in chunks, while the network computes."""
        files = self.datamodule.list_files(inputs)
        if files is not None and len(files) > batch_size:
            chunks = (files[start : start + batch_size] for start in range(0, len(files), batch_size))
            yield from read_ahead(chunks, self.datamodule.read_inputs)
            return
        samples = self.datamodule.read_inputs(inputs)
        if not len(samples):
            raise InputError("expected at least one input, got none")
        yield samples

    def predict_samples(
        self,
        samples: Split,
        batch_size: int | None = None,
        keep_probabilities: bool = False,
    ) -> dict[str, Tensor]:
        """Return the outputs of the network's `predict_step`, on the CPU, for samples that the DataModule has read.

        Args:
            samples: The samples, at least one.
            batch_size: Samples per batch; None for the DataModule's `eval_batch_size`.
            keep_probabilities: Whether to return the class probabilities of each pixel of a mask.
        """
        batch_size = batch_size or self.datamodule.eval_batch_size
        return self._predict_chunks(iter([samples]), batch_size, keep_probabilities)

    def _predict_chunks(self, chunks: Iterator[Split], batch_size: int, keep_probabilities: bool) -> dict[str, Tensor]:
        """Return the outputs for chunks of samples. Each chunk but the last has a multiple of `batch_size` samples."""
        first = next(chunks)
        chunks = chain([first], chunks)
        if hasattr(first, "stitcher"):
            return self._predict_images(chunks, batch_size, keep_probabilities)
        parts = [
            {name: column.cpu() for name, column in self.predict_batch(*samples[indices]).items()}
            for samples in chunks
            for indices in torch.arange(len(samples)).split(batch_size)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _predict_images(self, chunks: Iterable[Any], batch_size: int, keep_probabilities: bool) -> dict[str, Tensor]:
        """Return the masks of images of one size, and the probabilities of their pixels."""
        images = [image for _, image in self.predict_masks(chunks, batch_size, keep_probabilities)]
        if len({image.mask.shape for image in images}) > 1:
            raise InputError("expected images of one size; predict those of different sizes one by one")
        outputs = {"prediction": torch.stack([image.mask for image in images])}
        if keep_probabilities:
            outputs["probability"] = torch.stack([image.probabilities for image in images])
        return outputs

    def predict_masks(
        self, chunks: Iterable[Any], batch_size: int | None = None, keep_probabilities: bool = False
    ) -> Iterator[tuple[Any, Any]]:
        """Yield the mask of each image, as soon as all its tiles are predicted.

        The batches do not depend on how the images are split into chunks, so neither do the masks.

        Args:
            chunks: Tiles of images that the DataModule has read, such as `litnets.data.images.crops.TiledImages`.
            batch_size: Tiles per batch; None for the DataModule's `eval_batch_size`.
            keep_probabilities: Whether to keep the probabilities of all classes.

        Yields:
            The chunk of the image, and the `Stitched` prediction, whose `index` is that of the image in its chunk.
        """
        num_classes = len(self.classes or ())
        with_stitchers = ((chunk, chunk.stitcher(num_classes, keep_probabilities)) for chunk in chunks)
        for parts in _batch_tiles(with_stitchers, batch_size or self.datamodule.eval_batch_size):
            tiles = [part.chunk[part.indices] for part in parts]
            inputs, targets = (torch.cat(tensors) for tensors in zip(*tiles, strict=True))
            probabilities = self.predict_batch(inputs, targets)["probability"]
            sizes = [len(part.indices) for part in parts]
            for part, values in zip(parts, probabilities.split(sizes), strict=True):
                for image in part.stitcher.add(values, part.indices):
                    yield part.chunk, image

    @torch.inference_mode()
    def predict_batch(self, raw: Any, targets: Tensor | None = None) -> Mapping[str, Tensor]:
        """Return the outputs of the network's `predict_step`, on the device, for a batch that is not prepared yet.

        Args:
            raw: The inputs as the DataModule has read them.
            targets: Placeholders, for a `predict_step` that unpacks a batch.
        """
        batch = (self.prepare(move_data_to_device(raw, self.device)), targets)
        if not isinstance(self.network, Task):  # a Task converts its inputs itself
            batch = self._precision.convert_input(batch)
        with self._precision.forward_context():
            output = self.network.predict_step(batch, 0)
        return output if isinstance(output, Mapping) else {"prediction": output}


class _Tiles(NamedTuple):
    """Tiles of a batch that belong to the same chunk of images."""

    chunk: Any
    stitcher: Any
    indices: Tensor


def _batch_tiles(chunks: Iterable[tuple[Any, Any]], batch_size: int) -> Iterator[list[_Tiles]]:
    """Yield batches of the tiles of all chunks, which come with their stitchers. Only the last one is not full."""
    batch: list[_Tiles] = []
    missing = batch_size
    for chunk, stitcher in chunks:
        rest = torch.arange(len(chunk))
        while len(rest):
            indices, rest = rest[:missing], rest[missing:]
            batch.append(_Tiles(chunk, stitcher, indices))
            missing -= len(indices)
            if not missing:
                yield batch
                batch, missing = [], batch_size
    if batch:
        yield batch


def _check_preparation(cls: type[ArrayDataModule]) -> None:
    """Raise InputError if a class overrides a hook that changes batches, but not `preparation`."""
    order = cls.mro()
    defined = order.index(next(base for base in order if "preparation" in vars(base)))
    for hook in ("on_before_batch_transfer", "on_after_batch_transfer"):
        if order.index(next(base for base in order if hook in vars(base))) < defined:
            raise InputError(
                f"{cls.__name__} changes batches in {hook}; also define `preparation`, which returns a module that "
                "does the same, so that new inputs are prepared as in training"
            )


def _precision_plugin(name: str, device: torch.device) -> Precision:
    """Return Lightning's precision plugin. On a CPU, bfloat16 replaces float16, as in Lightning."""
    if name in ("bf16-mixed", "bf16") or (name in ("16-mixed", "16") and device.type == "cpu"):
        return MixedPrecision("bf16-mixed", device.type)
    if name in ("16-mixed", "16"):
        return MixedPrecision("16-mixed", device.type)
    if name == "bf16-true":
        return HalfPrecision("bf16-true")
    if name == "16-true":
        return HalfPrecision("16-true")
    return DoublePrecision() if name in ("64-true", "64") else Precision()
