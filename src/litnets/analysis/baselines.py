"""Baselines: simple methods that a network should beat, fitted and tested on the same splits.

    compute_baselines(model, data)  # {"most frequent class": {"accuracy": 0.1031, ..., "seconds": 0.01}, ...}

The predictions of a method are put into the form of the network's outputs, so that the loss and the metrics of the task
itself score them. All results are deterministic except for the seconds.

- Classes: the most frequent class, where the probabilities are the frequencies of the classes; logistic regression on
  rows, images and TF-IDF vectors of texts; gradient boosting on rows.
- Labels: the frequency of each label.
- Numbers: the mean; ridge regression on rows and images; gradient boosting on rows.
- Forecasts: the last value, the last period, and ridge regression on the window of each channel.
- Masks: the most frequent class.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.analysis.forecast_baselines import find_period, fit_linear, repeat_last, windows
from litnets.data.core.base import ArrayDataModule
from litnets.tasks import Classifier, Forecaster, Regressor, Segmenter, Task
from litnets.tasks.metrics import MeanLoss, reset_metrics

Baselines = dict[str, dict[str, float]]
Batches = Iterable[tuple[Tensor, Tensor]]  # outputs and targets

# A method is fitted by default if its estimated time on one core is below this, so that all methods together take less
# than ten seconds. The size of the data decides, not a clock, so a run has the same baselines wherever it is repeated.
MAX_SECONDS = 4.0

_SMALLEST_PROBABILITY = 1e-7  # so that the loss of a class that a method excludes is finite
_BATCH = 4096


class _Method(NamedTuple):
    """A baseline.

    Args:
        name: Its name.
        seconds: Estimated time.
        predict: Fits it and returns its outputs for the test split, with the targets.
    """

    name: str
    seconds: float
    predict: Callable[[], Batches]


def compute_baselines(
    model: Task,
    data: ArrayDataModule,
    fits_all: bool = False,
    on_error: Callable[[str, Exception], object] | None = None,
) -> Baselines:
    """Return the test metrics of each baseline, with the names of the task's test metrics, and the `seconds` it took.

    Args:
        model: The task. Only its loss and metrics are used, not its network.
        data: The data, which have been set up.
        fits_all: Whether to fit even the methods that are estimated to take long.
        on_error: Called with the name and the error of each method that fails. The method is then left out. None to
            raise the error.
    """
    if isinstance(model, Segmenter):
        return _mask_baselines(data)
    results: Baselines = {}
    for method in _methods(model, data):
        if not fits_all and method.seconds > MAX_SECONDS:
            continue
        start = time.perf_counter()
        try:
            scores = score(model, method.predict())
        except Exception as error:
            if on_error is None:
                raise
            on_error(method.name, error)
        else:
            results[method.name] = {**scores, "seconds": round(time.perf_counter() - start, 2)}
    return results


def score(model: Task, batches: Batches) -> dict[str, float]:
    """Return the loss and the test metrics of a task for outputs that need not come from its network."""
    metrics, mean_loss = model.test_metrics.clone(), MeanLoss().to(model.device)
    for metric in (mean_loss, *metrics.values(copy_state=False)):
        metric.distributed_available_fn = lambda: False  # the other processes have finished
    reset_metrics(metrics)
    with torch.no_grad():
        for batch in batches:
            outputs, targets = (values.to(model.device) for values in batch)
            model.update_metrics(metrics, outputs, targets)
            mean_loss.update(model.loss(outputs, targets), model.loss_weight(targets))
    scores = {"loss": mean_loss.compute(), **metrics.compute()}
    return {name.removeprefix("test/"): value.item() for name, value in scores.items()}


def _methods(model: Task, data: ArrayDataModule) -> Iterator[_Method]:
    if not hasattr(data.splits["test"], "targets"):
        return  # targets that are stored with the inputs, such as masks, are not read for baselines
    if isinstance(model, Forecaster):
        yield from _forecast_methods(data)
    elif isinstance(model, Classifier):
        name = "frequency of each label" if model.multilabel else "most frequent class"
        yield _Method(name, 0, lambda: _constant(_prior_outputs(model, data), data))
        if not model.multilabel:
            for named, estimator, seconds in _estimators(data, model.num_classes):
                yield _Method(named, seconds, partial(_classify, model, data, estimator))
    elif isinstance(model, Regressor):
        yield _Method("mean of the targets", 0, lambda: _constant(torch.zeros(len(model.target_names)), data))
        for named, estimator, seconds in _estimators(data, None):
            yield _Method(named, seconds, partial(_regress, model, data, estimator))


# Classes, labels and numbers


def _targets(data: ArrayDataModule, part: str) -> Tensor:
    split = data.splits[part]
    targets = split.targets[split.indices]
    return targets if targets.is_floating_point() else targets.long()


def _constant(outputs: Tensor, data: ArrayDataModule) -> Batches:
    """Return the same outputs for each sample of the test split."""
    return ((outputs.expand(len(targets), -1), targets) for targets in _targets(data, "test").split(_BATCH))


def _prior_outputs(model: Classifier, data: ArrayDataModule) -> Tensor:
    """Return the outputs for the frequency of each class or label in the training split, `(outputs,)`."""
    targets = _targets(data, "train")
    if model.multilabel:
        return targets.double().mean(0).logit(_SMALLEST_PROBABILITY).float()
    counts = targets.bincount(minlength=model.num_classes).double()
    return _to_outputs(model, (counts / counts.sum()).unsqueeze(0))[0]


def _to_outputs(model: Classifier, probabilities: Tensor) -> Tensor:
    """Return the outputs of a classifier that predicts these probabilities, `(N, num_classes)`."""
    logits = probabilities.clamp_min(_SMALLEST_PROBABILITY).log().float()
    return logits[:, 1:] - logits[:, :1] if model.binary_logit else logits


def _estimators(data: ArrayDataModule, num_classes: int | None) -> Iterator[tuple[str, Any, float]]:
    """Yield the name, the estimator and the estimated time of each scikit-learn method that can read the inputs.

    Args:
        data: The data.
        num_classes: Number of classes; None for numbers.
    """
    from sklearn import ensemble, linear_model  # imported on use, because it is slow

    samples = len(data.splits["train"])
    num_logits = 1 if num_classes in (None, 2) else num_classes
    if data.input_kind == "text" and num_classes is not None:
        texts: Any = data.baseline_inputs("train")
        yield "TF-IDF and logistic regression", _text_classifier(texts), _text_seconds(texts, num_logits)
        return
    if data.input_kind not in ("row", "image") or None in data.input_shape:
        return
    features = math.prod(size or 1 for size in data.input_shape)
    if num_classes is None:
        yield "ridge regression", linear_model.Ridge(), 1e-9 * samples * features**2
    else:
        seconds = 1e-7 * samples * features * num_logits
        yield "logistic regression", linear_model.LogisticRegression(), seconds
    if data.input_kind == "row":
        trees = (
            ensemble.HistGradientBoostingRegressor if num_classes is None else ensemble.HistGradientBoostingClassifier
        )
        seconds = (0.1 + 5e-7 * samples * features) * num_logits
        # Early stopping would fail on a class with a single sample, and make the time harder to estimate.
        yield "gradient boosting", trees(early_stopping=False, random_state=0), seconds


def _text_classifier(texts: Sequence[str]) -> Any:
    """Return TF-IDF with logistic regression, over words, or over characters if the texts are single words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    units: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (1, 3)}
    if not _are_words(texts):
        units = {"ngram_range": (1, 2)}
    vectors = TfidfVectorizer(sublinear_tf=True, max_features=50_000, dtype=np.float32, **units)
    return make_pipeline(vectors, LogisticRegression(C=10))


def _text_seconds(texts: Sequence[str], num_logits: int) -> float:
    """Return the estimated time of `_text_classifier`."""
    characters = sum(map(len, texts))
    if _are_words(texts):
        return 1.5e-6 * characters * num_logits
    return 1e-6 * characters * (1 + num_logits / 5) + 1e-5 * min(50_000, characters / 7) * num_logits


def _are_words(texts: Sequence[str]) -> bool:
    """Return whether texts have fewer than three words on average: names, for example, or a language without spaces."""
    few = texts[:1000]
    return sum(len(text.split()) for text in few) < 3 * len(few)


def _classify(model: Classifier, data: ArrayDataModule, estimator: Any) -> Batches:
    test = _fit(estimator, data, _targets(data, "train").numpy())
    probabilities = np.zeros((len(data.splits["test"]), model.num_classes))
    probabilities[:, estimator.classes_] = estimator.predict_proba(test)
    return [(_to_outputs(model, torch.from_numpy(probabilities)), _targets(data, "test"))]


def _regress(model: Regressor, data: ArrayDataModule, estimator: Any) -> Batches:
    from sklearn.multioutput import MultiOutputRegressor

    mean, std = model.target_mean.cpu(), model.target_std.cpu()
    targets = ((_targets(data, "train") - mean) / std).numpy()
    several = MultiOutputRegressor(estimator)
    outputs = several.predict(_fit(several, data, targets))
    return [(torch.from_numpy(outputs).float(), _targets(data, "test"))]


def _fit(estimator: Any, data: ArrayDataModule, targets: NDArray[Any]) -> Any:
    """Fit a method on the training split, and return the inputs of the test split."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a solver has not converged: the result is a baseline anyway
        estimator.fit(data.baseline_inputs("train"), targets)
    return data.baseline_inputs("test")


# Forecasts


def _forecast_methods(data: ArrayDataModule) -> Iterator[_Method]:
    test: Any = data.splits["test"]
    look_back, horizon = test.inputs.shape[1], test.targets.shape[1]
    values = len(test) * test.targets[0].numel()
    seconds = 2e-8 * values

    def batches(forecast: Callable[[Tensor], Tensor]) -> Batches:
        return ((forecast(inputs), targets) for inputs, targets in windows(data, "test"))

    yield _Method("last value", seconds, lambda: batches(repeat_last(1, horizon)))
    if look_back > 1 and (period := find_period(data)) > 1:
        yield _Method(f"last {period} steps", seconds, lambda: batches(repeat_last(period, horizon)))
    yield _Method("ridge regression", seconds + 2e-10 * values * look_back, lambda: batches(fit_linear(data)))


# Masks


def _mask_baselines(data: ArrayDataModule) -> Baselines:
    """Return the metrics of masks that hold only the most frequent class of the training split."""
    trained = data.class_counts
    if trained is None:
        return {}
    counts = np.array(data.count_classes(data.splits["test"], len(trained)), float)
    frequent = trained.index(max(trained))
    accuracy = counts[frequent] / counts.sum()
    num_present = np.count_nonzero(counts) + (counts[frequent] == 0)  # only these classes count in the means
    iou, dice = accuracy / num_present, 2 * accuracy / (1 + accuracy) / num_present
    return {"most frequent class": {"iou": iou, "dice": dice, "accuracy": accuracy, "seconds": 0.0}}
