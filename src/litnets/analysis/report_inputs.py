"""Choose the inputs that a report shows: a few of each class, and those that the network predicts worst."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from litnets.data.core.base import ArrayDataModule
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.stored_inputs import MAX_CONTENT_BYTES, MAX_INPUTS, Role, StoredInput, take

if TYPE_CHECKING:
    import polars

NUM_MISTAKES = 80  # samples
NUM_EXAMPLES = {"train": 60, "test": 40}
_NUM_MASKS = 20  # images with their masks; each takes two or three of MAX_INPUTS

PredictMask = Callable[[Any], Tensor]  # from the tiles of an image to its mask `(height, width)`


def collect_inputs(
    data: ArrayDataModule, predictions: RecordedPredictions | None, predict_mask: PredictMask | None = None
) -> list[StoredInput]:
    """Return the inputs that a report shows, the mistakes first.

    Args:
        data: The data, which have been set up.
        predictions: The recorded predictions of the test split, if there are any.
        predict_mask: Predicts the mask of an image, for segmentation.
    """
    mistakes = worst_samples(predictions)[: NUM_MISTAKES if predict_mask is None else _NUM_MASKS] if predictions else []
    stored = take(_read(data, "test", mistakes, "mistake", predict_mask), MAX_INPUTS // 2, MAX_CONTENT_BYTES // 2)
    for part, count in NUM_EXAMPLES.items():
        if data.num_samples(part):
            positions = data.choose_examples(part, count if predict_mask is None else _NUM_MASKS)
            rest = MAX_CONTENT_BYTES - sum(len(one.content) for one in stored)
            limit = rest if part == "test" else rest * 2 // 3
            stored += take(_read(data, part, positions, "example"), MAX_INPUTS - len(stored), limit)
    return stored


def _read(
    data: ArrayDataModule, part: str, positions: Iterable[int], role: Role, predict_mask: PredictMask | None = None
) -> Iterator[list[StoredInput]]:
    """Yield the inputs of each sample: one, or an image and its masks."""
    segmentation: Any = data
    for position in positions:
        contents: dict[Any, bytes] = data.raw_input(part, position)
        if predict_mask is not None:
            contents["predicted_mask"] = segmentation.predicted_mask(part, position, predict_mask)
        yield [StoredInput(part, position, role, kind, content) for kind, content in contents.items()]


def worst_samples(predictions: RecordedPredictions) -> list[int]:
    """Return the positions of the samples that were predicted worst, the worst first.

    - Classes: the mistakes with the largest loss and those with the largest probability, in the order of the loss.
    - Masks: the images with the smallest mean IoU.
    - Forecasts: the windows with the largest loss whose forecasts do not overlap.
    - Labels and numbers: the samples with the largest loss.
    """
    import polars as pl

    frame = predictions.frame
    if "mean_iou" in frame.columns:
        return _in_order(frame.filter(pl.col("mean_iou").is_not_nan()), "mean_iou", descending=False)
    order = next((name for name in ("loss", "probability") if name in frame.columns), None)
    if order is None:
        return []  # a custom loss has no loss of each sample
    if "step" in frame.columns:
        horizon = int(frame["step"].max())  # type: ignore[arg-type]
        return _spread(_in_order(frame.filter(pl.col("step") == 1), order), horizon)
    if "probability" in frame.columns:
        mistakes = frame.filter(pl.col("target") != pl.col("prediction"))
        by_loss, by_probability = (_in_order(mistakes, name)[: NUM_MISTAKES // 2] for name in (order, "probability"))
        frame = mistakes.filter(pl.col("index").is_in([*by_loss, *by_probability]))
    return _in_order(frame, order)


def _in_order(frame: "polars.DataFrame", column: str, descending: bool = True) -> list[int]:
    """Return the indices of the samples in the order of a column; those with equal values in the order of the split."""
    ordered = frame.sort(column, "index", descending=[descending, False], nulls_last=True)
    return ordered["index"].to_list()


def _spread(starts: list[int], horizon: int) -> list[int]:
    """Return at most `NUM_MISTAKES` of the windows, in their order, without those that overlap an earlier one."""
    chosen: list[int] = []
    for start in starts:
        if all(abs(start - other) >= horizon for other in chosen):
            chosen.append(start)
            if len(chosen) == NUM_MISTAKES:
                break
    return chosen
