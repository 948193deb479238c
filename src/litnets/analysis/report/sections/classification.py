"""Classification: confusion matrix, classes, ROC and precision-recall curves, reliability, thresholds, suspects."""

from typing import Any

import numpy as np

from litnets.analysis.report.blocks import Block, Figures, Note, Section, Table
from litnets.analysis.report.inputs import Inputs
from litnets.analysis.report.intervals import wilson
from litnets.analysis.report.predictions import ClassPredictions, sample_names
from litnets.analysis.report.scores import RankingCurves, label_suspects, ranking_curves, reliability, thresholds
from litnets.analysis.report.svg import Figure, Line, line_chart, matrix_chart

MAX_MATRIX = 100  # classes in a confusion matrix
_MAX_CURVES = 10  # classes with a ROC curve
_MAX_CLASSES = 200  # rows of the table of classes
_MAX_PAIRS = 15
_MAX_SUSPECTS = 20


def classification(predictions: ClassPredictions, inputs: Inputs) -> list[Section]:
    """Build the sections about the test predictions of a classifier."""
    sections = [Section("Classes", [*_matrix(predictions), *_per_class(predictions), *_pairs(predictions)])]
    probabilities = predictions.probabilities
    if probabilities is None:
        return sections
    blocks: list[Block] = [Figures([*_ranking(predictions, probabilities), *_reliability(predictions, probabilities)])]
    if len(predictions.names) == 2 and not predictions.is_multilabel:
        blocks.append(_thresholds(predictions, probabilities))
    sections.append(Section("Probabilities", blocks))
    suspects = _suspects(predictions, probabilities, inputs)
    return [*sections, *([suspects] if suspects else [])]


def _matrix(predictions: ClassPredictions) -> list[Block]:
    if predictions.is_multilabel:
        return []
    names = predictions.names
    if len(names) > MAX_MATRIX:
        return [
            Note(f"There is no confusion matrix, because there are {len(names):,} classes (the limit is {MAX_MATRIX}).")
        ]
    caption = "The color shows the fraction of the row; hover over a cell for its numbers."
    return [
        Figures([matrix_chart("Confusion matrix", predictions.confusion, names, "true", "predicted", caption=caption)])
    ]


def _per_class(predictions: ClassPredictions) -> list[Block]:
    names, target, predicted = predictions.names, predictions.one_hot, predictions.predicted_one_hot
    hits, actual, guesses = (target & predicted).sum(0), target.sum(0), predicted.sum(0)
    rows: list[list[Any]] = []
    for index, name in enumerate(names):
        f1 = 2 * hits[index] / (actual[index] + guesses[index]) if actual[index] + guesses[index] else None
        precision = hits[index] / guesses[index] if guesses[index] else None
        recall = hits[index] / actual[index] if actual[index] else None
        rows.append([name, int(actual[index]), int(guesses[index]), precision, recall, f1])
    caption = ""
    if len(rows) > _MAX_CLASSES:
        rows.sort(key=lambda row: (row[5] is None, row[5]))
        caption = f"The {_MAX_CLASSES} classes with the lowest F1 of {len(rows):,}."
    head = ["label" if predictions.is_multilabel else "class", "samples", "predicted", "precision", "recall", "F1"]
    return [Table(head, rows[:_MAX_CLASSES], "Per class", caption)]


def _pairs(predictions: ClassPredictions) -> list[Block]:
    """Return the table of the pairs of classes that are confused most often."""
    if predictions.is_multilabel or len(predictions.names) < 3:
        return []
    confusion = predictions.confusion.copy()
    rows_total = confusion.sum(1)
    np.fill_diagonal(confusion, 0)
    order = np.argsort(-confusion, axis=None, kind="stable")[:_MAX_PAIRS]
    rows = []
    for i, j in zip(*np.unravel_index(order, confusion.shape), strict=True):
        if confusion[i, j]:
            fraction = f"{confusion[i, j] / rows_total[i]:.1%}"
            rows.append([predictions.names[i], predictions.names[j], int(confusion[i, j]), fraction])
    return [Table(["true", "predicted as", "samples", "of the class"], rows, "Most confused")] if rows else []


def _ranking(predictions: ClassPredictions, probabilities: Any) -> list[Figure]:
    """Return the ROC and precision-recall curves, of the classes with the lowest AUROC if there are many."""
    all_curves: list[tuple[str, RankingCurves]] = []
    classes = [1] if len(predictions.names) == 2 and not predictions.is_multilabel else range(len(predictions.names))
    for index in classes:
        curves = ranking_curves(probabilities[:, index], predictions.one_hot[:, index])
        if curves is not None:
            all_curves.append((predictions.names[index], curves))
    shown = all_curves
    caption = ""
    if len(all_curves) > _MAX_CURVES:
        shown = sorted(all_curves, key=lambda item: item[1].auroc)[:_MAX_CURVES]
        caption = f"The {_MAX_CURVES} classes of {len(all_curves)} with the lowest AUROC."
    elif len(shown) == 1:
        caption = f"Positive class: {shown[0][0]}."
    roc = [Line(f"{name} {c.auroc:.3f}", c.false_positive_rate, c.true_positive_rate) for name, c in shown]
    pr = [Line(f"{name} {c.average_precision:.3f}", c.recall, c.precision) for name, c in shown]
    unit: Any = {"x_range": (0, 1), "y_range": (0, 1)}
    if not shown:
        return []
    return [
        line_chart(
            _area("ROC, one against rest", "AUROC", [c.auroc for _, c in shown]),
            roc,
            "false positive rate",
            "true positive rate",
            caption=caption,
            has_diagonal=True,
            **unit,
        ),
        line_chart(
            _area("Precision and recall", "average precision", [c.average_precision for _, c in shown]),
            pr,
            "recall",
            "precision",
            caption=caption,
            **unit,
        ),
    ]


def _area(title: str, name: str, areas: list[float]) -> str:
    return f"{title} ({name} {areas[0]:.4f})" if len(areas) == 1 else f"{title} ({name} in the legend)"


def _reliability(predictions: ClassPredictions, probabilities: Any) -> list[Figure]:
    confidence, is_right = _confidence(predictions, probabilities)
    result = reliability(confidence, is_right)
    bins = zip(result.confidence, result.accuracy, result.count.tolist(), strict=True)
    lines = [Line("", [x, x], wilson(round(y * n), n), "line", 7) for x, y, n in bins]
    temperature = predictions.recorded.description.get("temperature")
    if temperature is not None:
        raw = reliability(*_confidence(predictions, predictions.uncalibrated))
        lines.append(Line(f"before calibration, ECE {raw.ece:.4f}", raw.confidence, raw.accuracy, "dashed", 1))
    name = "" if temperature is None else f"calibrated, ECE {result.ece:.4f}"
    lines.append(Line(name, result.confidence, result.accuracy, "line", 0))
    lines.append(Line("", result.confidence, result.accuracy, "points", 0))
    caption = "Below the diagonal, the network is too sure. Gray: 95% interval of each bin."
    edges = np.linspace(0, 1, 21)
    right, wrong = (np.histogram(confidence[mask], edges)[0] for mask in (is_right, ~is_right))
    middles = (edges[1:] + edges[:-1]) / 2
    return [
        line_chart(
            f"Reliability (ECE {result.ece:.4f})",
            lines,
            "confidence",
            "accuracy",
            caption=caption,
            x_range=(0, 1),
            y_range=(0, 1),
            has_diagonal=True,
        ),
        line_chart(
            "Confidence of right and wrong predictions",
            [Line("right", middles, right, "line", 2), Line("wrong", middles, wrong, "line", 3)],
            "confidence",
            "samples",
            x_range=(0, 1),
        ),
    ]


def _confidence(predictions: ClassPredictions, probabilities: Any) -> tuple[Any, Any]:
    """Return the probability of each prediction and whether it is right; of each label, if there are several."""
    if predictions.is_multilabel:
        confidence = np.maximum(probabilities, 1 - probabilities).reshape(-1)
        return confidence, (predictions.predictions == predictions.targets).reshape(-1)
    return probabilities.max(1), ~predictions.is_wrong


def _thresholds(predictions: ClassPredictions, probabilities: Any) -> Table:
    rows = [list(row) for row in thresholds(probabilities[:, 1], predictions.targets == 1)]
    head = ["threshold", "precision", "recall", "false positive rate", "F1", "accuracy"]
    name = predictions.names[1]
    return Table(head, rows, f"Decision thresholds for {name}", f"{name} is predicted from this probability on.")


def _suspects(predictions: ClassPredictions, probabilities: Any, inputs: Inputs) -> Section | None:
    """Return the section of samples whose label may be wrong; None if there are none."""
    if predictions.is_multilabel:
        return None
    suspects, likely_classes = label_suspects(probabilities, predictions.targets)
    if not len(suspects):
        return None
    samples = sample_names(predictions.recorded)
    indices = predictions.recorded.frame["index"].to_list()
    rows = []
    for row, likely in list(zip(suspects.tolist(), likely_classes.tolist(), strict=True))[:_MAX_SUSPECTS]:
        content = inputs.html("test", indices[row])
        label = predictions.targets[row]
        rows.append(
            [
                samples[row],
                content or "",
                predictions.names[label],
                float(probabilities[row, label]),
                predictions.names[likely],
                float(probabilities[row, likely]),
            ]
        )
    head = ["sample", "input", "label", "its probability", "suspected", "its probability"]
    if not any(row[1] for row in rows):
        rows, head = [[row[0], *row[2:]] for row in rows], [head[0], *head[2:]]
    caption = (
        f"{len(suspects):,} of {len(predictions.targets):,} test samples, the most suspicious first: another class is "
        "at least as probable as it is, on average, for samples labeled with it. Many are hard, not mislabeled."
    )
    return Section("Possible label errors", [Table(head, rows, caption=caption)])
