"""The mistakes with the highest loss and those that the network was most sure of, with their inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from litnets.analysis.report.blocks import Block, Example, Gallery, Section, Table
from litnets.analysis.report.inputs import Inputs, mask_color
from litnets.analysis.report.predictions import ClassPredictions, ValuePredictions, sample_names
from litnets.runs.recorded_predictions import RecordedPredictions

_SHOWN = 24
_ROWS = 20


def classification_mistakes(predictions: ClassPredictions, inputs: Inputs) -> Section | None:
    """Build the section of wrong predictions of a classifier; None if there are none."""
    wrong = np.flatnonzero(predictions.is_wrong)
    if not len(wrong):
        return None
    frame = predictions.recorded.frame
    names, indices = sample_names(predictions.recorded), frame["index"].to_list()
    confidence = _confidence(predictions)
    loss = frame["loss"].to_numpy() if "loss" in frame.columns else None
    orders = {"Most confident mistakes": wrong[np.argsort(-confidence[wrong], kind="stable")]}
    if loss is not None:
        orders = {"Worst mistakes": wrong[np.argsort(-loss[wrong], kind="stable")], **orders}
    others = "" if loss is None else " among the other mistakes"
    captions = {
        "Worst mistakes": "The highest losses.",
        "Most confident mistakes": f"The highest probabilities{others}.",
    }
    blocks: list[Block] = []
    shown: set[int] = set()
    for title, order in orders.items():
        examples: list[Example] = []
        for row in order.tolist():
            if row in shown or len(examples) == _SHOWN:
                continue
            content = inputs.html("test", indices[row])
            if content is None:
                continue
            shown.add(row)
            true, predicted = (
                predictions.labels(predictions.targets, row),
                predictions.labels(predictions.predictions, row),
            )
            lines = [names[row], f"true: {true}", f"predicted: {predicted}", f"probability {confidence[row]:.3f}"]
            examples.append(Example(content, lines, is_wrong=True))
        if examples:
            blocks.append(Gallery(title, examples, captions[title]))
    if not blocks:  # a run that has stored no inputs
        rows = [
            [
                names[row],
                predictions.labels(predictions.targets, row),
                predictions.labels(predictions.predictions, row),
                float(confidence[row]),
                None if loss is None else float(loss[row]),
            ]
            for row in next(iter(orders.values()))[:_ROWS].tolist()
        ]
        blocks.append(Table(["sample", "true", "predicted", "probability", "loss"], rows, next(iter(orders))))
    count = f"The network predicts {len(wrong):,} of {len(predictions.is_wrong):,} test samples incorrectly."
    blocks[-1] = _with_caption(blocks[-1], count)
    return Section("Mistakes", blocks)


def _with_caption(block: Any, text: str) -> Block:
    arguments = {**vars(block), "caption": f"{block.caption} {text}".strip()}
    result: Block = type(block)(**arguments)
    return result


def _confidence(predictions: ClassPredictions) -> Any:
    """Return the probability of each prediction; for several labels, the highest one of a wrong label."""
    frame = predictions.recorded.frame
    if "probability" in frame.columns:
        return frame["probability"].to_numpy().astype(float)
    probabilities = predictions.probabilities
    if probabilities is None:
        return np.full(len(frame), np.nan)
    if not predictions.is_multilabel:
        return probabilities.max(1)
    sure = np.maximum(probabilities, 1 - probabilities)
    return np.where(predictions.predictions != predictions.targets, sure, 0).max(1)


def regression_mistakes(values: ValuePredictions, inputs: Inputs) -> Section:
    """Build the section of the largest errors of a regression."""
    errors = np.abs(values.errors[:, 0]).max(1)
    order = np.argsort(-errors, kind="stable")
    names, indices = sample_names(values.recorded), values.recorded.frame["index"].to_list()
    examples: list[Example] = []
    rows: list[list[Any]] = []
    for row in order[:_SHOWN].tolist():
        content: Markup | None = inputs.html("test", indices[row])
        true, predicted = (_numbers(part[row, 0]) for part in (values.targets, values.predictions))
        if content is not None:
            examples.append(Example(content, [names[row], f"true: {true}", f"predicted: {predicted}"], is_wrong=True))
        rows.append([names[row], true, predicted, float(errors[row])])
    if examples:
        return Section("Largest errors", [Gallery("Largest errors", examples)])
    head = ["sample", "true", "predicted", "error in standard deviations"]
    return Section("Largest errors", [Table(head, rows[:_ROWS])])


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def image_mistakes(recorded: RecordedPredictions, inputs: Inputs) -> Section | None:
    """Build the section of the images whose masks are predicted worst; None if no image is stored."""
    scores = recorded.frame["mean_iou"].to_numpy().astype(float)
    names, indices = sample_names(recorded), recorded.frame["index"].to_list()
    examples: list[Example] = []
    for row in np.argsort(scores, kind="stable").tolist():
        if len(examples) < _SHOWN and (content := inputs.html("test", indices[row])) is not None:
            examples.append(Example(content, [names[row], f"mean IoU {scores[row]:.3f}"]))
    caption = "The lowest IoU first: the image, its mask, and the predicted mask."
    legend = [(name, mask_color(index)) for index, name in enumerate(recorded.names[:_SHOWN])]
    return Section("Worst images", [Gallery("Worst images", examples, caption, legend)]) if examples else None
