"""Attribution maps of some inputs by some methods, with their checks."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from litnets.analysis.explain.answers import Answer, choose_answer
from litnets.analysis.explain.attribution import Attribution, Method, attribute, check_method
from litnets.analysis.explain.checks import (
    MAX_COMPLETENESS_ERROR,
    MAX_CORRELATION,
    RANDOM_NETWORKS,
    Check,
    is_empty,
    judge,
    randomize,
)
from litnets.analysis.explain.explanation import Explanation
from litnets.analysis.explain.inputs import Example
from litnets.analysis.explain.layers import cam_layer, run
from litnets.analysis.explain.pictures import draw_maps
from litnets.safety.escaping import printable
from litnets.tasks import Segmenter

_MIN_CAM_POSITIONS = 16  # a coarser map of an image says little

_CAPTIONS: dict[Method, str] = {
    "saliency": "how strongly the answer reacts to each part of the input (absolute gradient)",
    "integrated_gradients": "what each part of the input adds to the answer, compared with a mean input",
    "grad_cam": "where the last convolution finds evidence for the answer",
    "occlusion": "by how much the answer falls when a part of the input is replaced by a mean",
}


def default_methods(network: nn.Module, example: Example) -> list[Method]:
    """Return integrated gradients and, for an image whose network has a fine enough last convolution, Grad-CAM."""
    layer = cam_layer(network, example.inputs) if example.kind == "image" else None
    use_cam = layer is not None and layer.output_shape[2:].numel() >= _MIN_CAM_POSITIONS
    if use_cam and not isinstance(network, Segmenter):
        return ["grad_cam", "integrated_gradients"]
    return ["integrated_gradients"]


def explain_maps(
    explanation: Explanation,
    network: nn.Module,
    examples: Sequence[Example],
    methods: Sequence[Method],
    target: str | None = None,
    step: int | None = None,
) -> list[dict[str, Any]]:
    """Draw the maps of each method, and write maps.csv and, for texts and rows, values.csv.

    Args:
        explanation: Where to write.
        network: The network, in evaluation mode and float32.
        examples: The inputs, at least one.
        methods: The methods.
        target, step: The answer to explain, see `choose_answer`.

    Returns:
        The rows of maps.csv: one for each method and input.

    Raises:
        InputError: A method does not fit the network, or there is no such target or step.
    """
    for method in methods:
        check_method(method, network, examples[0])
    with torch.no_grad():
        answers = [choose_answer(network, run(network, one.inputs), target, step) for one in examples]
    attributed = {method: _attribute_all(method, network, examples, answers) for method in methods}
    random_maps: dict[str, list[list[Tensor]]] = {method: [] for method in methods}
    for seed in range(RANDOM_NETWORKS):
        random_network = randomize(network, seed)
        for method in methods:
            attributions = _attribute_all(method, random_network, examples, answers, refine=False)
            random_maps[method].append([attribution.map for attribution in attributions])
    rows: list[dict[str, Any]] = []
    values: list[dict[str, Any]] = []
    for method in methods:
        maps = [attribution.map for attribution in attributed[method]]
        errors = [attribution.completeness_error for attribution in attributed[method]]
        others = list(zip(*random_maps[method], strict=True))  # for each input, the map of each random network
        checks = judge(maps, errors, others)
        shown = [next((one for one in candidates if not is_empty(one)), candidates[0]) for candidates in others]
        caption = f"{_CAPTIONS[method]}; the network and one with random weights"
        path = explanation.add(method, caption, describe(checks), [check.passed for check in checks])
        titles = [
            f"{printable(example.name)}\n{printable(answer.name)}: {attribution.answer + answer.constant:.4g}"
            for example, answer, attribution in zip(examples, answers, attributed[method], strict=True)
        ]
        draw_maps(path, method, examples, titles, maps, shown, checks)
        for example, answer, attribution, check in zip(examples, answers, attributed[method], checks, strict=True):
            rows.append(_row(method, example, answer, attribution, check))
            values += _values(method, example, attribution)
    explanation.write_table("maps.csv", rows)
    if values:
        explanation.write_table("values.csv", values)
    return rows


def _attribute_all(
    method: Method, network: nn.Module, examples: Sequence[Example], answers: Sequence[Answer], refine: bool = True
) -> list[Attribution]:
    pairs = zip(examples, answers, strict=True)
    return [attribute(method, network, example, answer.weights, refine) for example, answer in pairs]


def describe(checks: Sequence[Check]) -> str:
    """Return one line about the checks of the maps of one method."""
    parts = [f"{sum(check.passed for check in checks)} of {len(checks)} maps passed"]
    errors = [check.completeness_error for check in checks if check.completeness_error is not None]
    if errors:
        parts.append(f"largest completeness error {max(errors):.2%} (limit {MAX_COMPLETENESS_ERROR:.0%})")
    correlation = median(check.correlation for check in checks)
    parts.append(f"median rank correlation with random weights {correlation:.2f} (limit {MAX_CORRELATION})")
    return "; ".join(parts)


def _row(method: str, example: Example, answer: Answer, attribution: Attribution, check: Check) -> dict[str, Any]:
    return {
        "method": method,
        "input": example.name,
        "answer": answer.name,
        "value": attribution.answer + answer.constant,
        "completeness_error": check.completeness_error,
        "random_correlation": check.correlation,
        "passed": check.passed,
        "failures": ", ".join(check.failures),
    }


def _values(method: str, example: Example, attribution: Attribution) -> list[dict[str, Any]]:
    """Return a row for each token of a text or column of a row; nothing for other inputs, whose maps are pictures."""
    if attribution.map.ndim > 1:
        return []
    return [
        {"method": method, "input": example.name, "position": position + 1, "name": name, "value": value}
        for position, (name, value) in enumerate(zip(example.positions, attribution.map.tolist(), strict=True))
    ]
