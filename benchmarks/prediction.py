"""Time `litnets.load(RUN).predict` against the bare network on the same batches, and against reading the files."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.images import synthetic
from benchmarks.result import Result, Settings, divide, interleave
from litnets.analysis.predictor import Predictor
from litnets.data import MNIST
from litnets.tasks import AirNetClassifier, MLPClassifier, Task

_TARGET = 0.8


def measure_prediction(settings: Settings) -> list[Result]:
    """Compare `predict` with the bare network, for arrays and for files.

    The bare network gets prepared batches, and its outputs are thrown away. For files, the bound is the slower of
    reading them and the network.
    """
    images, _ = synthetic(settings.size(8192, 64))
    few = images[: settings.size(1024, 32)]
    shape = (1, 28, 28)
    mlp = _predictor(settings, MLPClassifier(input_shape=shape, num_classes=10, hidden_layer_sizes=(256, 256)))
    # The network of configs/fashion_mnist_cnn.yaml.
    cnn = _predictor(settings, AirNetClassifier(input_shape=shape, num_classes=10, widths=(32, 64, 128), tta="mirror"))
    return [
        Result("predict: MLP, arrays", _arrays(mlp, images, settings.rounds), _TARGET),
        Result("predict: CNN, arrays", _arrays(cnn, few, settings.rounds), _TARGET),
        Result("predict: CNN, files", _files(cnn, images[: settings.size(2048, 64)], settings), _TARGET),
    ]


def _arrays(predictor: Predictor, images: Tensor, rounds: int) -> list[float]:
    """Return the speed of `predict` for arrays, divided by that of the bare network, in each round."""
    seconds = interleave(
        rounds, bare=_bare(predictor, images), arrays=_timed(partial(predictor.predict, images.numpy()))
    )
    return divide(seconds["bare"], seconds["arrays"])


def _files(predictor: Predictor, images: Tensor, settings: Settings) -> list[float]:
    """Return the time of the slower of reading files and the network, divided by that of `predict`, in each round.

    Reading and the network can only overlap if the network leaves a core free, so it computes with one thread.
    """
    files = _write_files(settings.work / "images", images)
    predictor.datamodule.eval_batch_size = settings.size(128, 16)  # many batches: nothing overlaps with the first
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = interleave(
        settings.slow_rounds,
        bare=_bare(predictor, images),
        read=_timed(partial(predictor.datamodule.read_inputs, files)),
        files=_timed(partial(predictor.predict, files)),
    )
    torch.set_num_threads(threads)
    return divide(list(map(max, seconds["bare"], seconds["read"])), seconds["files"])


def _predictor(settings: Settings, network: Task) -> Predictor:
    """Return a Predictor whose DataModule prepares images and reads files without its training data."""
    datamodule = MNIST(data_dir=str(settings.data))
    datamodule.restore_for_inputs({"mean": [33.0], "std": [78.0]})
    return Predictor(network, datamodule)


def _bare(predictor: Predictor, images: Tensor) -> Callable[[], float]:
    """Return a function that times the network on prepared batches."""
    batches = [predictor.prepare(batch) for batch in images.split(predictor.datamodule.eval_batch_size)]

    @torch.inference_mode()
    def run() -> None:
        for batch in batches:
            predictor.network.test_forward(batch)  # type: ignore[operator]

    return _timed(run)


def _timed(run: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return timed


def _write_files(folder: Path, images: Tensor) -> list[str]:
    folder.mkdir()
    paths = [str(folder / f"{index}.png") for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(np.asarray(image[0])).save(path)
    return paths
