"""Time exported networks: ONNX Runtime against PyTorch, with the same threads."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.result import Result, Settings, divide, interleave
from litnets.analysis.predictor import Predictor
from litnets.data import MNIST
from litnets.deploy.export import build_network
from litnets.deploy.formats import OnnxFile, write
from litnets.deploy.graph import trace
from litnets.tasks import CNNClassifier, MLPClassifier, RNNClassifier, Task

NETWORKS: dict[str, Callable[..., Task]] = {"MLP": MLPClassifier, "CNN": CNNClassifier, "LSTM": RNNClassifier}
TARGETS = {"MLP": 4.0, "CNN": 2.0, "LSTM": 1.7}  # for one image
LARGE_BATCH, LARGE_TARGET = 256, 0.9


def measure_export(settings: Settings) -> list[Result]:
    """Compare exported networks with the same networks in PyTorch, for one image and for a large batch.

    Both take uint8 pixels and return classes and probabilities. PyTorch runs in inference mode, in float32.
    """
    data = MNIST(data_dir=str(settings.data))
    data.setup("fit")
    results = []
    for name, build in NETWORKS.items():
        task = build(input_shape=data.input_shape, num_classes=data.num_classes)
        network = build_network(Predictor(task, data, device="cpu"))
        exported = _export(network, data.splits["val"][torch.arange(2)][0], settings.work / f"{name}.onnx")
        for batch, target in ((1, TARGETS[name]), (LARGE_BATCH, LARGE_TARGET)):
            images: Any = data.splits["val"][torch.arange(batch)][0]
            calls = settings.size(200 if batch == 1 else 3, 1)
            seconds = interleave(
                settings.rounds,
                network=partial(_seconds, calls, partial(network, images)),
                exported=partial(_seconds, calls, partial(exported.run, None, {"inputs": images.numpy()})),
            )
            size = "one image" if batch == 1 else f"{batch} images"
            ratios = divide(seconds["network"], seconds["exported"])
            results.append(Result(f"export: speed of ONNX Runtime against PyTorch, {name}, {size}", ratios, target))
    return results


def _export(network: Any, images: Any, path: Path) -> Any:
    """Export a network, and return the session that runs the file."""
    write(trace(network, (images,)), "onnx", path, list(network(images)), {})
    return OnnxFile(path).session


@torch.inference_mode()
def _seconds(calls: int, predict: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        predict()
    return time.perf_counter() - start
