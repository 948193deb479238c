"""Pixel counts from the recorded predictions of a segmentation, and scores that are computed from them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.significance import LEVEL
from litnets.runs.recorded_predictions import RecordedPredictions

_RESAMPLES = 2000  # of the bootstrap


@dataclass(frozen=True)
class PixelCounts:
    """Number of pixels of each class in each image.

    Args:
        both: Those in the target and in the prediction, `(images, classes)`.
        either: Those in the target or in the prediction, `(images, classes)`.
    """

    both: NDArray[np.int64]
    either: NDArray[np.int64]

    @classmethod
    def of(cls, predictions: RecordedPredictions) -> "PixelCounts | None":
        """Return the counts of recorded predictions; None if they are not masks."""
        frame = predictions.frame
        if "mean_iou" not in frame.columns:
            return None
        names = predictions.description["class_names"]
        pixels = frame["pixels"].to_numpy()[:, None]
        iou, target, prediction = (
            np.nan_to_num(frame.select(f"{column}_{name}" for name in names).to_numpy())
            for column in ("iou", "target_fraction", "prediction_fraction")
        )
        sizes = np.rint((target + prediction) * pixels)
        both = np.rint(sizes * iou / (1 + iou)).astype(np.int64)
        return cls(both, sizes.astype(np.int64) - both)

    def iou(self, weights: NDArray[np.int64] | None = None) -> float:
        """Return the intersection over union of all pixels, averaged over the classes that occur.

        Args:
            weights: How often each image counts, `(images,)`. Default: once.
        """
        weights = np.ones(len(self.both), np.int64) if weights is None else weights
        both, either = weights @ self.both, weights @ self.either
        return float((both[either > 0] / either[either > 0]).mean())


def iou_interval(counts: PixelCounts) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the IoU, under the assumption that the images are independent."""
    return _interval([counts.iou(weights) for weights in _resamples(len(counts.both))])


def iou_difference(a: PixelCounts, b: PixelCounts) -> tuple[float, tuple[float, float]]:
    """Return the IoU of b minus that of a, on the same images, and its 95% paired bootstrap interval."""
    differences = [b.iou(weights) - a.iou(weights) for weights in _resamples(len(a.both))]
    return b.iou() - a.iou(), _interval(differences)


def _resamples(size: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each image is sampled, `(size,)`, in each bootstrap resample."""
    generator = np.random.default_rng(0)
    for _ in range(_RESAMPLES):
        yield np.bincount(generator.integers(0, size, size), minlength=size)


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)
