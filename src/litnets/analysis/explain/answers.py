"""The answer to explain: a class, a value, a step of a forecast, or the pixels of a class."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from litnets.errors import InputError, abbreviate, did_you_mean
from litnets.tasks import Classifier, Forecaster, Regressor, Segmenter


class Answer(NamedTuple):
    """A weighted sum of the outputs of a network for one input, plus a constant.

    Args:
        name: What it is, such as the name of a class.
        weights: The weight of each output, in the shape of the outputs for one input, `(1, ...)`.
        constant: The mean of the target or channel, which the outputs do not include. It does not change attributions.
    """

    name: str
    weights: Tensor
    constant: float = 0.0


def choose_answer(network: Any, outputs: Tensor, target: str | None = None, step: int | None = None) -> Answer:
    """Return the answer to explain.

    - Classification: the logit of a class; by default, of the predicted one, or of the most probable label.
    - Regression: a target; by default, the first one.
    - Forecasting: a channel at a step; by default, the first channel at the first step.
    - Segmentation: the sum of a class's logits over the pixels that are predicted as this class; over all pixels if
      there are none. By default, the second most frequent class of the predicted mask, because the most frequent one is
      usually the background; a mask of one class is explained by that class.

    Targets and channels are in the units of the data.

    Args:
        network: The LightningModule.
        outputs: Its outputs for one input, `(1, ...)`.
        target: Name of the class, target or channel; None for the default.
        step: The step of a forecast, from 1; None for the default.

    Raises:
        InputError: There is no such target or step.
    """
    if step is not None and not isinstance(network, Forecaster):
        raise InputError(f"--step {step}: only forecasts have steps")
    weights = torch.zeros_like(outputs)
    if isinstance(network, Forecaster):
        step = 1 if step is None else step
        if not 1 <= step <= network.horizon:
            raise InputError(f"--step: expected 1 to {network.horizon}, got {step}")
        channel = 0 if target is None else _index(target, network.channel_names, "channel")
        weights[0, step - 1, channel] = network.channel_std[channel]
        return Answer(f"{network.channel_names[channel]}, step {step}", weights, float(network.channel_mean[channel]))
    if isinstance(network, Segmenter):
        return _choose_pixels(network, outputs, target)
    if isinstance(network, Regressor):
        index = 0 if target is None else _index(target, network.target_names, "target")
        weights[0, index] = network.target_std[index]
        return Answer(network.target_names[index], weights, float(network.target_mean[index]))
    if isinstance(network, Classifier):
        probabilities = network.metric_inputs(outputs)
        index = int(probabilities[0].argmax()) if target is None else _index(target, network.class_names, "class")
        if network.binary_logit:  # the logit of the second class
            weights[0, 0] = 1 if index else -1
        else:
            weights[0, index] = 1
        return Answer(network.class_names[index], weights)
    if target is not None:
        raise InputError(f"--target {target}: {type(network).__name__} does not name its outputs")
    index = int(outputs.flatten().argmax())
    weights.view(-1)[index] = 1
    return Answer(f"output {index}", weights)


def _choose_pixels(network: Segmenter, outputs: Tensor, target: str | None) -> Answer:
    mask = outputs.argmax(1)  # (1, height, width)
    if target is None:
        counts = mask.flatten().bincount(minlength=network.num_classes)
        first, second = counts.topk(2).indices.tolist()
        index = second if counts[second] else first
    else:
        index = _index(target, network.class_names, "class")
    pixels = mask == index
    weights = torch.zeros_like(outputs)
    weights[:, index] = (pixels if pixels.any() else torch.ones_like(pixels)).float()
    return Answer(network.class_names[index], weights)


def _index(target: str, names: Sequence[str], kind: str) -> int:
    if target not in names:
        raise InputError(
            f"--target: no {kind} '{target}'{did_you_mean(target, names)} (choose from: {abbreviate(names)})"
        )
    return list(names).index(target)
