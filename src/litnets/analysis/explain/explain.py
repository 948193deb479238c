"""Explain a run: attributions of some inputs, permutation importance, the first filters, and the last hidden units."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from litnets.analysis.explain import pictures
from litnets.analysis.explain.attribution import METHODS
from litnets.analysis.explain.checks import randomize
from litnets.analysis.explain.explanation import Explanation
from litnets.analysis.explain.inputs import Example, prepare, prepare_examples
from litnets.analysis.explain.layers import first_layer, last_linear, run
from litnets.analysis.explain.maps import default_methods, explain_maps
from litnets.analysis.explain.permutation import MAX_ROWS, build_score, permutation_importance
from litnets.analysis.explain.units import MAX_SAMPLES, Unit, dissect
from litnets.analysis.predictor import Predictor
from litnets.data.core.batching import ArrayDataset, RaggedDataset
from litnets.errors import InputError
from litnets.tasks import Classifier, Task

View = Literal["permutation", "filters", "units"]
VIEWS: tuple[View, ...] = get_args(View)
ALL_METHODS: tuple[str, ...] = (*METHODS, *VIEWS)

_MAX_FILTERS = 64
_MAX_CLASSES = 10  # in the picture of the units; the table has all of them


class Labeled(NamedTuple):
    """Samples with targets, as they were read, and their name for captions."""

    samples: ArrayDataset | RaggedDataset
    name: str


@dataclass(frozen=True)
class Options:
    """What to explain.

    Args:
        methods: Names of `ALL_METHODS`; empty for those that fit the network and the data.
        target: Name of the class, target or channel to explain; None for the default of `choose_answer`.
        step: The step of a forecast, from 1; None for the default of `choose_answer`.
        repeats: How often permutation importance shuffles each column.
    """

    methods: Sequence[str] = field(default=())
    target: str | None = None
    step: int | None = None
    repeats: int = 10


def explain(
    predictor: Predictor,
    examples: Sequence[Example],
    load_rows: Callable[[], Labeled],
    load_test: Callable[[], Labeled],
    explanation: Explanation,
    options: Options,
) -> list[dict[str, Any]]:
    """Write the pictures and tables of an explanation.

    Args:
        predictor: The network. It is converted to float32.
        examples: The inputs to explain, at least one.
        load_rows: Returns the rows for permutation importance. It may raise InputError.
        load_test: Returns the samples for the units. It may raise InputError.
        explanation: Where to write.
        options: What to explain.

    Returns:
        A row for each attribution map.

    Raises:
        InputError: A method in `options` does not fit the network or the data.
    """
    network = predictor.network.float()
    methods = [method for method in options.methods if method in METHODS]
    if not options.methods:
        methods = default_methods(network, examples[0])
    rows = explain_maps(explanation, network, examples, methods, options.target, options.step) if methods else []
    for view in _views(predictor, examples[0], options):
        try:
            if view == "permutation":
                _explain_columns(explanation, predictor, load_rows, examples[0], options)
            elif view == "filters":
                _draw_first_filters(explanation, network, examples[0])
            else:
                _explain_units(explanation, predictor, load_test, examples[0])
        except InputError as error:
            if options.methods:
                raise InputError(f"--method {view}: {error}") from error
            explanation.notes.append(f"no {view}: {error}")
    explanation.write_index()
    return rows


def _views(predictor: Predictor, example: Example, options: Options) -> list[View]:
    """Return the views to draw: those in `options`, or those that make sense for the task and the data."""
    if options.methods:
        return [view for view in VIEWS if view in options.methods]
    views: list[View] = ["permutation"] if example.kind == "row" else []
    if example.kind != "text":
        views.append("filters")
    return [*views, "units"] if isinstance(predictor.network, Classifier) else views


def _explain_columns(
    explanation: Explanation, predictor: Predictor, load: Callable[[], Labeled], example: Example, options: Options
) -> None:
    network = predictor.network
    if example.kind != "row" or not isinstance(network, Task):
        raise InputError("permutation importance is for the columns of tables")
    split, name = load()
    chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:MAX_ROWS]
    rows, targets = split[chosen]
    assert isinstance(rows, Tensor)
    targets = targets.to(predictor.device)
    targets = targets if targets.is_floating_point() else targets.long()
    monitor = (predictor.run.read_results().get("best") or {}).get("monitor") if predictor.run else None
    score, metric = build_score(network, monitor or network.monitor)

    def predict(rows: Tensor) -> Tensor:
        with torch.no_grad():
            parts = rows.split(predictor.datamodule.eval_batch_size)
            return torch.cat([run(network, prepare(predictor, part)) for part in parts])

    columns = predictor.datamodule.raw_columns() or {name: [index] for index, name in enumerate(example.groups)}
    importances = permutation_importance(predict, score, rows, targets, columns, options.repeats)
    clear = [importance.is_significant for importance in importances]
    check = f"the intervals of {sum(clear)} of {len(clear)} columns exclude 0"
    change = "the loss rises" if metric == "loss" else f"{metric} falls"
    caption = f"by how much {change} when a column is shuffled, on {len(rows):,} rows of {name}"
    pictures.draw_importances(explanation.add("permutation", caption, check, clear), importances, metric)
    table = [
        {
            "column": importance.column,
            "importance": importance.mean,
            "low": importance.low,
            "high": importance.high,
            "passed": importance.is_significant,
        }
        for importance in sorted(importances, key=lambda importance: -importance.mean)
    ]
    explanation.write_table("permutation.csv", table)


def _draw_first_filters(explanation: Explanation, network: nn.Module, example: Example) -> None:
    layer = first_layer(network, example.inputs)
    if layer is None:
        raise InputError("the first layer is neither a linear layer nor a convolution of the inputs")
    filters = layer.weight.detach().float().cpu()[:_MAX_FILTERS]
    names: list[str] = []
    if isinstance(layer, nn.Linear) and example.kind == "image":
        filters = filters.unflatten(1, tuple(example.inputs[0].shape[1:]))
    elif isinstance(layer, nn.Conv1d):
        filters = filters.transpose(1, 2).unsqueeze(1)  # (N, 1, steps, features)
    elif isinstance(layer, nn.Linear):
        names = [name for name, indices in example.groups.items() for _ in indices]
        names = names if len(names) == layer.in_features else []
    shown = f"{len(filters)} of {layer.weight.shape[0]} filters" if len(filters) < len(layer.weight) else "all filters"
    caption = f"weights of the first layer, {type(layer).__name__} ({shown})"
    pictures.draw_filters(explanation.add("filters", caption), filters, names)


def _explain_units(
    explanation: Explanation, predictor: Predictor, load: Callable[[], Labeled], example: Example
) -> None:
    network = predictor.network
    if not isinstance(network, Classifier):
        raise InputError("units are compared with classes, which this network does not predict")
    layer = last_linear(network, example.inputs)
    if layer is None:
        raise InputError("the network has no last linear layer that reads hidden units")
    split, name = load()
    chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:MAX_SAMPLES]
    parts = chosen.split(min(predictor.datamodule.eval_batch_size, 256))
    targets = torch.cat([split[part][1] for part in parts])
    if targets.ndim == 1:
        targets = nn.functional.one_hot(targets.long(), network.num_classes)

    def batches() -> Iterator[tuple[Tensor, ...]]:
        return (prepare(predictor, split[part][0]) for part in parts)

    units = dissect(network, randomize(network, seed=0), layer, batches, targets)
    if not units:
        raise InputError("no class has enough samples with and without it")
    names = network.class_names
    passed = [unit.passed for unit in units]
    check = f"{sum(passed)} of {len(units)} units separate their class better than units with random weights"
    caption = (
        "the unit that separates each class best, and the inputs that activate it most, among "
        f"{len(chosen):,} samples of {name}"
    )
    path = explanation.add("units", caption, check, passed)
    shown = [(_title(unit, names), unit.passed, _exciting(predictor, split, chosen, unit)) for unit in units]
    pictures.draw_units(path, shown[:_MAX_CLASSES])
    table = [
        {
            "class": names[unit.class_index],
            "unit": unit.index,
            "auc": unit.auc,
            "auc_random": unit.random_auc,
            "passed": unit.passed,
            "exciting": " ".join(str(int(chosen[index])) for index in unit.exciting),
        }
        for unit in units
    ]
    explanation.write_table("units.csv", table)


def _title(unit: Unit, names: Sequence[str]) -> str:
    lines = [names[unit.class_index][:20], f"unit {unit.index}", f"AUC {unit.auc:.3f}", f"random {unit.random_auc:.3f}"]
    return "\n".join(lines if unit.passed else [*lines, "FAILED: like random weights"])


def _exciting(predictor: Predictor, split: Any, chosen: Tensor, unit: Unit) -> list[Example]:
    indices = chosen[unit.exciting].tolist()
    return prepare_examples(predictor, split, indices, [str(index) for index in indices])
