"""Attributions: how much each part of an input contributes to an answer of the network, computed by captum."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from litnets.analysis.explain.inputs import Example, reduce_map
from litnets.analysis.explain.layers import cam_layer, run
from litnets.errors import InputError

Method = Literal["saliency", "integrated_gradients", "grad_cam", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

_MAX_ELEMENTS = 2**22  # of the inputs in one forward pass
# Steps of integrated gradients to try, until the error is small. Layer normalization changes fast near the baseline.
_STEPS = (32, 128, 512, 2048)
_SMALL_ERROR = 0.01


@dataclass(frozen=True)
class Attribution:
    """The attributions of one answer.

    Args:
        map: A value per pixel `(H, W)`, per token or column `(n,)`, or per step and feature `(T, features)`.
        answer: The explained answer f(x), without its constant.
        completeness_error: For integrated gradients, the difference between the sum of the attributions and
            f(x) - f(baseline), divided by the latter.
    """

    map: Tensor
    answer: float
    completeness_error: float | None = None


class _Function:
    """The answer of a network as a function of its features: its inputs, or the embeddings of its tokens."""

    def __init__(self, network: nn.Module, inputs: tuple[Tensor, ...], weights: Tensor) -> None:
        self.network = network
        first, *rest = inputs
        self.embedding: nn.Module | None = None
        if first.is_floating_point():
            self.features, self.arguments = first, (weights, *rest)
        else:
            self.embedding = _find_embedding(network)
            with torch.no_grad():
                self.features = self.embedding(first)
            self.arguments = (weights, *inputs)
        self.batch_size = max(1, min(256, _MAX_ELEMENTS // self.features.numel()))

    def __call__(self, features: Tensor, weights: Tensor, *rest: Tensor) -> Tensor:
        """Return the answers for a batch of features, `(N,)`; captum repeats the other arguments N times."""
        if self.embedding is None:
            outputs = run(self.network, (features, *rest))
        else:
            handle = self.embedding.register_forward_hook(lambda *_: features)
            try:
                outputs = run(self.network, rest)
            finally:
                handle.remove()
        return (outputs * weights).flatten(1).sum(1)


def attribute(
    method: Method, network: nn.Module, example: Example, weights: Tensor, refine: bool = True
) -> Attribution:
    """Return the attributions of an answer.

    The baseline of integrated gradients and occlusion is zero. This is the training mean of a standardized number, a
    missing category, or the embedding of padding.

    Args:
        method: `saliency` (absolute gradient), `integrated_gradients`, `grad_cam` or `occlusion`.
        network: The network, in evaluation mode.
        example: The input.
        weights: The answer, see `Answer`.
        refine: Whether integrated gradients take more steps until their error is small.

    Raises:
        InputError: captum is not installed, or the method does not fit the network.
    """
    attr = import_captum()
    function = _Function(network, example.inputs, weights)
    compute = {
        "saliency": _saliency,
        "integrated_gradients": _integrated_gradients,
        "grad_cam": _grad_cam,
        "occlusion": _occlusion,
    }[method]
    # cuDNN computes no gradients of recurrent layers in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        values, error = compute(attr, function, example, refine)
        with torch.no_grad():
            answer = float(function(function.features, *function.arguments))
    return Attribution(values.detach().float().cpu(), answer, error)


def check_method(method: Method, network: nn.Module, example: Example) -> None:
    """Raise InputError if a method does not fit a network."""
    if method == "grad_cam" and cam_layer(network, example.inputs) is None:
        raise InputError(
            "--method grad_cam: the network has no convolution over positions (steps or pixels); use "
            "integrated_gradients, saliency or occlusion"
        )
    if not example.inputs[0].is_floating_point():
        _find_embedding(network)


def import_captum() -> Any:
    """Return the module captum.attr.

    Raises:
        InputError: captum is not installed.
    """
    try:
        import captum.attr
    except ImportError as error:
        raise InputError('explain needs the package captum; run: pip install -e ".[explain]"') from error
    return captum.attr


def _find_embedding(network: nn.Module) -> nn.Module:
    embedding = next((module for module in network.modules() if isinstance(module, nn.Embedding)), None)
    if embedding is None:
        raise InputError(f"attributions of tokens need an nn.Embedding, which {type(network).__name__} does not have")
    return embedding


Result = tuple[Tensor, float | None]


def _saliency(attr: Any, function: _Function, example: Example, refine: bool) -> Result:
    gradients = attr.Saliency(function).attribute(
        function.features.clone().requires_grad_(), additional_forward_args=function.arguments
    )
    return reduce_map(gradients[0], example, "norm"), None


def _integrated_gradients(attr: Any, function: _Function, example: Example, refine: bool) -> Result:
    baseline = torch.zeros_like(function.features)
    with torch.no_grad():
        change = function(function.features, *function.arguments) - function(baseline, *function.arguments)
    for steps in _STEPS:
        attributions, delta = attr.IntegratedGradients(function).attribute(
            function.features,
            baseline,
            additional_forward_args=function.arguments,
            n_steps=steps,
            internal_batch_size=function.batch_size,
            return_convergence_delta=True,
        )
        error = relative_error(float(delta), float(change))
        if error <= _SMALL_ERROR or not refine:
            break
    return reduce_map(attributions[0], example, "sum"), error


def relative_error(error: float, change: float) -> float:
    """Return |error| / |change|; 0 if both are zero, and infinity if only the change is."""
    if error == 0:
        return 0.0
    return abs(error / change) if change else float("inf")


def _grad_cam(attr: Any, function: _Function, example: Example, refine: bool) -> Result:
    layer = cam_layer(function.network, example.inputs)
    assert layer is not None  # see `check_method`
    cam = attr.LayerGradCam(function, layer.module).attribute(
        function.features, additional_forward_args=function.arguments, relu_attributions=True
    )  # (1, 1, h, w) or (1, 1, t)
    if example.kind == "image":
        if cam.ndim == 3:  # the network reads the image row by row
            cam = cam.unsqueeze(3)
        return interpolate(cam, size=tuple(example.inputs[0].shape[2:]), mode="bilinear")[0, 0], None
    steps = function.features.shape[1]
    over_time = interpolate(cam, size=steps, mode="linear")[0, 0]  # (T,)
    return over_time if example.kind == "text" else over_time.unsqueeze(1).expand(function.features.shape[1:]), None


def _occlusion(attr: Any, function: _Function, example: Example, refine: bool) -> Result:
    arguments = {"additional_forward_args": function.arguments, "perturbations_per_eval": function.batch_size}
    with torch.no_grad():
        if example.kind == "row":
            groups = torch.zeros_like(function.features, dtype=torch.long)
            for number, indices in enumerate(example.groups.values()):
                groups[0, indices] = number
            drops = attr.FeatureAblation(function).attribute(function.features, feature_mask=groups, **arguments)
        else:
            window, strides = occlusion_window(example, tuple(function.features.shape[1:]))
            drops = attr.Occlusion(function).attribute(function.features, window, strides, **arguments)
    return reduce_map(drops[0], example, "mean"), None


def occlusion_window(example: Example, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the size of the window that is set to zero, and how far it moves.

    It covers a seventh of the height and width of an image, one token of a text, a tenth of the steps of one channel of
    a series, or a tenth of the frames and an eighth of the bands of a sound, and moves by half its size.
    """
    if example.kind == "text":
        return (1, shape[1]), (1, shape[1])
    if example.kind == "image":
        height, width = ceil(shape[1] / 7), ceil(shape[2] / 7)
        return (shape[0], height, width), (shape[0], ceil(height / 2), ceil(width / 2))
    steps, features = ceil(shape[0] / 10), 1 if example.kind == "series" else ceil(shape[1] / 8)
    return (steps, features), (ceil(steps / 2), ceil(features / 2))
