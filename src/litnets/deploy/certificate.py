"""The certificate of an export: its predictions compared with those of the network that it came from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.analysis.predictor import Predictor
from litnets.data.core.batching import RaggedDataset
from litnets.deploy.formats import ExportedFile, Outputs
from litnets.deploy.graph import as_tuple
from litnets.errors import InputError
from litnets.tasks import Task

# The largest accepted difference of a probability, or of a value in standard deviations of its target.
TOLERANCE = 1e-4
# For recordings: Fourier transforms round differently, and the logarithm magnifies the errors in quiet parts.
AUDIO_TOLERANCE = 1e-3
# A decision may differ if the two most probable classes were this close: rounding then decides.
TIE_MARGIN = 1e-5

_MAX_BATCH = 256
_BATCH_SIZES = (1, 16, 256)
SECONDS_PER_BATCH_SIZE = 0.5


@dataclass
class Timing:
    """Milliseconds for a batch: medians of rounds that alternate between the network and the export.

    Args:
        batch: Number of samples.
        length: Number of steps of the longest sequence; None without sequences.
        network: Milliseconds of the network in PyTorch.
        exported: Milliseconds of the export.
        ratio: How many times faster the export is.
    """

    batch: int
    length: int | None
    network: float
    exported: float
    ratio: float


@dataclass
class Certificate:
    """How much the predictions of an export differ from those of its network.

    Args:
        checked_on: What the samples are.
        run: Experiment and run of the network.
        file: Name of the exported file.
        versions: Versions of the packages that wrote it.
        samples: Number of samples; of tiles for large images.
        tolerance: Largest accepted difference.
        largest_difference: Largest difference of a probability, or of a value in standard deviations of its target.
        decisions: Number of decisions: one for each sample, label or pixel.
        flips: Number of decisions that differ, without ties.
        ties: Number of decisions that differ where two classes were equally probable up to rounding.
        set_flips: Number of classes in the prediction set of a sample for only one of the two networks, without ties.
        metric: Name of the metric; None without targets.
        network_metric: The metric of the network.
        exported_metric: The metric of the export.
        recorded_metric: The metric that the test of the run reported.
        recorded_precision: The precision of that test; the comparison is in float32.
        megabytes: Size of the file.
        network_megabytes: Size of the weights of the network.
        threads: Number of threads of the timings.
        timings: Milliseconds for several batch sizes and lengths.
    """

    checked_on: str
    run: str | None = None
    file: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    samples: int = 0
    tolerance: float = TOLERANCE
    largest_difference: float = 0.0
    decisions: int = 0
    flips: int = 0
    ties: int = 0
    set_flips: int = 0
    metric: str | None = None
    network_metric: float | None = None
    exported_metric: float | None = None
    recorded_metric: float | None = None
    recorded_precision: str = "32-true"
    megabytes: float = 0.0
    network_megabytes: float = 0.0
    threads: int = field(default_factory=torch.get_num_threads)
    timings: list[Timing] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of certificate.json."""
        return {"passed": True, "tie_margin": TIE_MARGIN, **asdict(self)}

    def check(self) -> None:
        """Raise InputError unless all decisions agree, and all differences are within the tolerance."""
        if (
            self.flips or self.set_flips or not self.largest_difference <= self.tolerance
        ):  # written with `not`, so that NaN fails as well
            differ = f"{self.flips} of {self.decisions:,} decisions differ, " if self.decisions else ""
            differ += f"{self.set_flips} classes of prediction sets differ, " if self.set_flips else ""
            raise InputError(
                f"export: the exported network predicts differently from the trained one ({differ}largest difference "
                f"{self.largest_difference:.2g}, at most {self.tolerance:.0e} is accepted), so nothing was written; "
                "please report it with the configuration of the run"
            )


class CheckSamples(NamedTuple):
    """The samples to compare on.

    Args:
        data: Indexed by tensors of indices, it returns raw inputs and targets.
        origin: What they are, for the reader of the certificate.
        have_targets: Whether the targets are known.
    """

    data: Any
    origin: str
    have_targets: bool


def certify(
    predictor: Predictor, exported: ExportedFile, samples: CheckSamples, recorded: Mapping[str, Any]
) -> Certificate:
    """Compare an export with the network that it came from.

    Args:
        predictor: The network.
        exported: The export, read from its file.
        samples: The samples to compare on.
        recorded: The test metrics of the run.

    Raises:
        InputError: A class has another name in the metadata of the export, or the predictions differ.
    """
    if exported.metadata["class_names"] != predictor.classes:
        raise InputError(
            f"export: the classes in the file are {exported.metadata['class_names']}, those of the network "
            f"{predictor.classes}, so nothing was written"
        )
    audio = exported.metadata["reading"]["kind"] == "audio"
    certificate = Certificate(samples.origin, exported.metadata["run"], versions=exported.metadata["versions"])
    certificate.tolerance = AUDIO_TOLERANCE if audio else TOLERANCE
    scores = _Scores(predictor)
    for raw, targets in _batches(predictor, samples.data):
        inputs = as_tuple(raw)
        reference, actual = _reference_outputs(predictor, raw, targets), exported(*inputs)
        certificate.samples += len(inputs[0])
        difference = _largest_difference(reference, actual, scores.scale)
        certificate.largest_difference = max(certificate.largest_difference, difference, key=_nan_last)
        if "probability" in reference:
            differ, margins = _decisions(reference, actual)
            certificate.decisions += differ.size
            certificate.flips += int((differ & (margins > TIE_MARGIN)).sum())
            certificate.ties += int((differ & (margins <= TIE_MARGIN)).sum())
        if "set" in reference:
            certificate.set_flips += _count_set_flips(reference, actual, predictor.network.set_threshold)
        if samples.have_targets and isinstance(predictor.network, Task):
            scores.add(reference, actual, targets)
    certificate.check()
    certificate.metric, certificate.network_metric, certificate.exported_metric = scores.compute()
    if certificate.metric is not None:
        certificate.recorded_metric = recorded.get(certificate.metric)
    certificate.timings = measure(predictor, exported, samples.data)
    return certificate


def choose_evenly(samples: Any, count: int) -> Tensor:
    """Return the indices of at most `count` samples, evenly spaced."""
    return torch.linspace(0, len(samples) - 1, min(count, len(samples))).round().long()


def measure(predictor: Predictor, exported: ExportedFile, samples: Any) -> list[Timing]:
    """Return timings for several batch sizes; for sequences, also for the shortest and the longest one alone."""
    batches = (samples[indices][0] for indices in _batches_to_measure(samples))
    return [measure_batch(predictor, exported, raw, SECONDS_PER_BATCH_SIZE) for raw in batches]


def measure_batch(predictor: Predictor, exported: ExportedFile, raw: Any, seconds: float) -> Timing:
    """Return the timing of a batch.

    Args:
        predictor: The network.
        exported: The export.
        raw: The raw inputs.
        seconds: How long to measure.
    """
    inputs = as_tuple(raw)
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        end = perf_counter() + seconds
        while len(times[0]) < 3 or perf_counter() < end:  # the first round warms up
            start = perf_counter()
            predictor.predict_batch(raw)
            middle = perf_counter()
            exported(*inputs)
            times[0].append(middle - start)
            times[1].append(perf_counter() - middle)
    ratio = median(network / other for network, other in zip(times[0][1:], times[1][1:], strict=True))
    network, other = (1000 * median(part[1:]) for part in times)
    length = inputs[0].shape[1] if len(inputs) > 1 else None
    return Timing(len(inputs[0]), length, round(network, 4), round(other, 4), round(ratio, 2))


def _batches_to_measure(samples: Any) -> Iterator[Tensor]:
    """Yield the indices of a batch of each size; for sequences, also of the shortest and the longest one alone."""
    if isinstance(samples, RaggedDataset):
        shortest, *_, longest = samples.split_lengths.argsort().tolist() * 2
        yield from (torch.tensor([shortest]), torch.tensor([longest]))
    for size in sorted({min(size, len(samples)) for size in _BATCH_SIZES}):
        yield choose_evenly(samples, size)


def _batches(predictor: Predictor, samples: Any) -> Iterator[tuple[Any, Tensor]]:
    size = min(predictor.datamodule.eval_batch_size, _MAX_BATCH)
    for indices in torch.arange(len(samples)).split(size):
        yield samples[indices]


def _reference_outputs(predictor: Predictor, raw: Any, targets: Tensor) -> Outputs:
    with torch.inference_mode():
        return {name: value.numpy() for name, value in predictor.predict_batch(raw, targets).items()}


def _nan_last(value: float) -> tuple[bool, float]:
    return value != value, value


def _largest_difference(reference: Outputs, actual: Outputs, scale: NDArray[Any] | float) -> float:
    """Return the largest difference of all outputs that are not integers.

    For values in the units of the data, four rounding steps of the value are subtracted from the difference, and the
    rest is divided by `scale`.
    """
    largest = 0.0
    for name, expected in reference.items():
        if expected.dtype.kind != "f":
            continue
        difference = np.abs(actual[name].astype(np.float64) - expected)
        if name != "probability":
            difference = np.maximum(difference - 4 * np.spacing(np.abs(expected)), 0) / scale
        largest = max(largest, float(difference.max()), key=_nan_last)
    return largest


def _decisions(reference: Outputs, actual: Outputs) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return which decisions differ, and by how much the network preferred its decision."""
    probabilities = reference["probability"]
    if reference["prediction"].shape == probabilities.shape:  # each label is a decision
        margins = 2 * np.abs(probabilities - 0.5)
    else:
        second, first = np.moveaxis(np.partition(probabilities, -2, axis=1), 1, 0)[-2:]
        margins = first - second
    return reference["prediction"] != actual["prediction"], margins


def _count_set_flips(reference: Outputs, actual: Outputs, threshold: Any) -> int:
    """Return how many classes are in only one of the sets, although their probability is not at the threshold.

    Samples whose prediction differs are left out: their sets differ too, because a set includes the prediction.
    """
    same = reference["prediction"] == actual["prediction"]
    same = same if same.ndim == 2 else same[:, None]  # labels, or classes
    is_tie = np.abs(reference["probability"] - threshold) <= TIE_MARGIN
    return int(((reference["set"] != actual["set"]) & same & ~is_tie).sum())


class _Scores:
    """The metric of the network and of its export: accuracy, or the mean absolute error.

    Args:
        predictor: The network.
    """

    def __init__(self, predictor: Predictor) -> None:
        network: Any = predictor.network
        self.ignore_index: int | None = getattr(network, "ignore_index", None)
        self.standardized = hasattr(network, "channel_std")  # the error of a forecast is that of standardized values
        scale = getattr(network, "channel_std" if self.standardized else "target_std", None)
        self.scale: NDArray[Any] | float = 1.0 if scale is None else scale.cpu().numpy().squeeze()
        self._sums = np.zeros(2)
        self._count = 0
        self._name: str | None = None

    def add(self, reference: Outputs, actual: Outputs, targets: Tensor) -> None:
        """Add a batch."""
        truth = targets.numpy()
        predictions = [outputs["prediction"] for outputs in (reference, actual)]
        if "probability" in reference:
            self._name = "accuracy"
            counted = np.ones(truth.shape, bool) if self.ignore_index is None else truth != self.ignore_index
            values: Sequence[NDArray[Any]] = [(prediction == truth)[counted] for prediction in predictions]
        else:
            self._name = "mae"
            truth = truth.reshape(predictions[0].shape)
            values = [np.abs(prediction.astype(np.float64) - truth) for prediction in predictions]
            values = [value / self.scale for value in values] if self.standardized else values
        self._sums += [value.sum(dtype=np.float64) for value in values]
        self._count += values[0].size

    def compute(self) -> tuple[str | None, float | None, float | None]:
        """Return the name of the metric, and its value for the network and the export."""
        if self._name is None or not self._count:
            return None, None, None
        network, exported = (self._sums / self._count).tolist()
        return self._name, network, exported
