"""Build the report of a run from its folder: report.html, which needs no other file, and model_card.md.

Both are pure functions of the folder: the same folder gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from litnets.analysis.pixel_counts import PixelCounts
from litnets.analysis.report.blocks import Figures, Note, Section
from litnets.analysis.report.formatting import escape_markdown, format_cell, is_number, markdown_table
from litnets.analysis.report.inputs import Budget, Inputs
from litnets.analysis.report.predictions import ClassPredictions, ValuePredictions
from litnets.analysis.report.record import Record
from litnets.analysis.report.sections.boundary import boundary
from litnets.analysis.report.sections.classification import classification
from litnets.analysis.report.sections.data_card import data_card
from litnets.analysis.report.sections.distributions import distributions
from litnets.analysis.report.sections.explanations import explanations
from litnets.analysis.report.sections.forecasting import forecasting
from litnets.analysis.report.sections.mistakes import classification_mistakes, image_mistakes, regression_mistakes
from litnets.analysis.report.sections.regression import regression
from litnets.analysis.report.sections.results import headline, intervals, verdict
from litnets.analysis.report.sections.segmentation import segmentation
from litnets.analysis.report.sections.slices import slices
from litnets.analysis.report.sections.training import curves, setup
from litnets.analysis.report.sections.weights import weights
from litnets.runs.folder import Run

_MAX_BYTES = 5_000_000  # of a page
_MAX_INPUT_BYTES = 2_900_000
_MAX_PICTURE_BYTES = 1_300_000
# Low estimates of how fast the files of a run are read and evaluated.
_PREDICTION_BYTES_PER_SECOND = 2_000_000
_FORECAST_BYTES_PER_SECOND = 10_000_000
_CHECKPOINT_BYTES_PER_SECOND = 100_000_000


@dataclass(frozen=True)
class Report:
    """The report of a run.

    Args:
        html: The page.
        model_card: The summary in Markdown.
    """

    html: str
    model_card: str

    def save(self, run: Run) -> None:
        """Write report.html and model_card.md into the run folder.

        Raises:
            InputError: A file cannot be written.
        """
        run.write(run.report, self.html)
        run.write(run.model_card, self.model_card)


def build_report(run: Run) -> Report:
    """Build the report of a run.

    Raises:
        InputError: A file of the run is damaged.
    """
    record = Record.load(run)
    inputs = Inputs(record.inputs, Budget(_MAX_INPUT_BYTES))
    limits = intervals(record)
    first_line = verdict(record, limits)
    results = headline(record, limits)
    sections: list[Section | None] = [results, curves(record), *_task_sections(record, inputs)]
    pictures = Budget(_MAX_PICTURE_BYTES)
    sections += [boundary(record), explanations(run, pictures), data_card(record, inputs)]
    sections += [distributions(run), weights(run), setup(record)]
    left_out = inputs.budget.left_out + pictures.left_out
    html = render_page(record.name, first_line, [one for one in sections if one], left_out)
    in_card = [results, setup(record), data_card(record, Inputs([]))]
    card = _environment().get_template("model_card.md.jinja")
    context: dict[str, Any] = {"record": record, "verdict": first_line}
    return Report(html, card.render(sections=[one for one in in_card if one], **context))


def render_page(title: str, verdict: Note, sections: Sequence[Section], left_out: int = 0) -> str:
    """Return a page as HTML that needs no other file. If it is too large, its largest figures are left out.

    Args:
        title: The title of the page.
        verdict: Its first line.
        sections: Its sections, in order.
        left_out: Number of images and sounds that were left out to limit its size.
    """
    template = _environment().get_template("report.html.jinja")
    page = template.render(title=title, verdict=verdict, sections=sections, left_out=left_out)
    if len(page.encode()) > _MAX_BYTES and (smaller := _without_largest(sections)):
        return render_page(title, verdict, smaller, left_out)
    return page


def _without_largest(sections: Sequence[Section]) -> list[Section] | None:
    """Return the sections without their largest figure; None if they have no figures."""
    blocks = [block for section in sections for block in section.blocks if isinstance(block, Figures)]
    largest = max((one for block in blocks for one in block.figures), key=lambda one: len(one.svg), default=None)
    if largest is None or not largest.svg:
        return None
    caption = "This figure is left out, because the page is limited to 5 MB."
    rest = {
        id(block): Figures(
            [replace(one, svg=Markup(), caption=caption, legend=()) if one is largest else one for one in block.figures]
        )
        for block in blocks
    }
    return [replace(one, blocks=[rest.get(id(block), block) for block in one.blocks]) for one in sections]


def is_quick(run: Run) -> bool:
    """Return whether building the report of a run takes less than two seconds, or 2% of the time of its training.

    The time is estimated by the size of the files to read, so that the answer does not depend on the load of the
    machine.
    """
    results = run.read_results()
    predictions = _FORECAST_BYTES_PER_SECOND if "test_per_channel" in results else _PREDICTION_BYTES_PER_SECOND
    rates = {run.recorded_predictions("test"): predictions, run.best: _CHECKPOINT_BYTES_PER_SECOND}
    seconds = sum(path.stat().st_size / rate for path, rate in rates.items() if path.exists())
    return seconds <= max(2.0, 0.02 * float(results.get("seconds", 0)))


def _task_sections(record: Record, inputs: Inputs) -> list[Section | None]:
    """Return the sections that depend on the kind of task."""
    results, test = record.results, record.test
    if test is None or not len(test.frame):
        per_class = results.get("test_per_class")
        return [*segmentation(per_class)] if per_class else []
    if PixelCounts.of(test) is not None:
        ious = test.frame["mean_iou"].to_numpy().astype(float)
        return [
            *segmentation(results.get("test_per_class") or {}),
            image_mistakes(test, inputs),
            slices(test, ious, "mean IoU"),
        ]
    if "class_names" in test.description:
        predictions = ClassPredictions(test)
        first, *others = classification(predictions, inputs)
        measure = "subset accuracy" if predictions.is_multilabel else "accuracy"
        by_slice = slices(test, 1.0 - predictions.is_wrong, measure)
        return [first, classification_mistakes(predictions, inputs), *others, by_slice]
    values = ValuePredictions(test)
    errors = (values.errors**2).mean((1, 2))
    by_slice = slices(test, errors, "mean squared error (standardized)")
    if "channel_names" in test.description:
        return [*forecasting(values, results.get("test_per_channel"), record.baselines), by_slice]
    return [*regression(values, results.get("test_per_target")), regression_mistakes(values, inputs), by_slice]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("litnets.analysis.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": format_cell, "markdown": escape_markdown, "markdown_table": markdown_table}
    environment.tests["number_cell"] = is_number
    return environment
