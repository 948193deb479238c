"""Figures of a classifier's test results, for TensorBoard and Weights & Biases."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor
from torchmetrics.functional.classification import binary_precision_recall_curve, binary_roc

from litnets.pieces import append_merged
from litnets.safety.escaping import printable
from litnets.tracking.sample_order import fixed_order

POINTS = 200  # points per curve; more are not visible
CLASSES = 20  # classes that get a curve: the most frequent ones
WORST = 32  # rows of the table of misclassified samples


class Curve(NamedTuple):
    """The curve of one class: the name of the class and the coordinates of the points, each `(points,)`."""

    name: str
    x: Tensor
    y: Tensor


class Mistake(NamedTuple):
    """A misclassified sample. Its index in the split is None if the order of the samples is random."""

    sample: int | None
    target: str
    prediction: str
    loss: float
    inputs: Tensor


class Figures(Callback):
    """Log figures of a test: a confusion matrix, one-vs-rest ROC and PR curves and, to W&B, the misclassified samples
    with the highest losses.

    Probabilities and targets are gathered from all processes. TensorBoard gets images, which need matplotlib; W&B gets
    tables. Figures are logged for a module with `class_names` whose `test_step` returns probabilities `(N, classes)`.
    There is no confusion matrix for multi-label targets.
    """

    def __init__(self) -> None:
        self._probabilities: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._mistakes: list[Mistake] = []
        self._order: list[Any] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._probabilities, self._targets, self._mistakes = [], [], []
        self._order = fixed_order(trainer.test_dataloaders) or []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        names: Sequence[str] | None = getattr(pl_module, "class_names", None)
        if names is None or not isinstance(outputs, Tensor) or outputs.shape[1:] != (len(names),):
            return
        inputs, targets = batch
        append_merged(self._probabilities, outputs)
        append_merged(self._targets, targets)
        order = self._order[batch_idx] if batch_idx < len(self._order) else None
        worst_of_batch = top_losses(_mistakes(outputs, targets, inputs, order, names))
        # Copy each input, because a view would keep its entire batch in memory until the test ends.
        copies = [mistake._replace(inputs=mistake.inputs.clone()) for mistake in worst_of_batch]
        self._mistakes = top_losses(self._mistakes + copies)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A collective operation: every process must get here, even one without samples.
        part = (
            torch.cat(self._probabilities).cpu() if self._probabilities else None,
            torch.cat(self._targets).cpu() if self._targets else None,
            self._mistakes,
        )
        self._probabilities, self._targets = [], []
        parts: list[Any] = [part]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, part)
        parts = [part for part in parts if part[0] is not None]
        if not trainer.is_global_zero or not parts:
            return
        probabilities, targets = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        mistakes = top_losses([mistake for part in parts for mistake in part[2]])
        names = list(pl_module.class_names)  # type: ignore[arg-type]
        matrix = None if targets.ndim > 1 else confusion(probabilities.argmax(1), targets, len(names))
        roc, pr = curves(probabilities, targets, names)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                _to_wandb(logger, matrix, roc, pr, mistakes, names)
            elif isinstance(logger, TensorBoardLogger):
                _to_tensorboard(logger, matrix, roc, pr, names, trainer.global_step)


def confusion(predictions: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return the confusion matrix `(classes, classes)`: targets in rows, predictions in columns."""
    return (targets * classes + predictions).bincount(minlength=classes**2).view(classes, classes)


def curves(probabilities: Tensor, targets: Tensor, names: Sequence[str]) -> tuple[list[Curve], list[Curve]]:
    """Return the one-vs-rest ROC curves (false against true positive rate) and PR curves (recall against precision).

    A class with no sample, or with all samples, has no curve. With many classes, only the most frequent ones have one.

    Args:
        probabilities: `(N, classes)`.
        targets: Classes `(N,)` or multi-label targets `(N, classes)`.
        names: Names of the classes.
    """
    multi_hot = targets if targets.ndim > 1 else targets.unsqueeze(1) == torch.arange(len(names))  # (N, classes)
    counts = multi_hot.long().sum(0)
    most_frequent = counts.argsort(descending=True, stable=True)[:CLASSES].sort().values
    roc: list[Curve] = []
    pr: list[Curve] = []
    for c in (c for c in most_frequent.tolist() if 0 < counts[c] < len(multi_hot)):
        false_positives, true_positives, _ = binary_roc(probabilities[:, c], multi_hot[:, c].long())
        precision, recall, _ = binary_precision_recall_curve(probabilities[:, c], multi_hot[:, c].long())
        for kind, x, y in ((roc, false_positives, true_positives), (pr, recall, precision)):
            points = torch.linspace(0, len(x) - 1, min(POINTS, len(x))).round().long()
            kind.append(Curve(names[c], x[points], y[points]))
    return roc, pr


def top_losses(mistakes: list[Mistake]) -> list[Mistake]:
    """Return the mistakes with the highest losses, the highest first."""
    return sorted(mistakes, key=lambda mistake: -mistake.loss)[:WORST]


def _mistakes(outputs: Tensor, targets: Tensor, inputs: Any, order: Any, names: Sequence[str]) -> list[Mistake]:
    """Return the mistakes of a batch with the highest losses: the negative log-likelihoods of their targets."""
    likelihoods = outputs.gather(1, targets.unsqueeze(1)) if targets.ndim == 1 else (outputs - 1 + targets).abs()
    losses = -likelihoods.clamp_min(torch.finfo(likelihoods.dtype).tiny).log().sum(1)  # (N,)
    predictions = outputs.argmax(1) if targets.ndim == 1 else (outputs > 0.5).long()
    is_wrong = (predictions != targets) if targets.ndim == 1 else (predictions != targets).any(1)
    wrong = is_wrong.nonzero().squeeze(1)
    wrong = wrong[losses[wrong].argsort(descending=True)][:WORST]

    def label(value: Tensor) -> str:
        if value.ndim == 0:
            return names[int(value)]
        return ", ".join(name for name, applies in zip(names, value.tolist(), strict=True) if applies) or "none"

    mistakes = []
    for i in wrong.tolist():
        one = inputs[0][i][: int(inputs[1][i])] if isinstance(inputs, (tuple, list)) else inputs[i]
        index = None if order is None else int(order[i])
        mistakes.append(Mistake(index, label(targets[i]), label(predictions[i]), losses[i].item(), one.detach().cpu()))
    return mistakes


def _to_wandb(
    logger: WandbLogger,
    matrix: Tensor | None,
    roc: list[Curve],
    pr: list[Curve],
    mistakes: list[Mistake],
    names: list[str],
) -> None:
    import wandb

    shown: dict[str, Any] = {}
    if matrix is not None:
        rows = [[names[i], names[j], int(matrix[i, j])] for i in range(len(names)) for j in range(len(names))]
        table = wandb.Table(columns=["Actual", "Predicted", "nPredictions"], data=rows)
        fields = {name: name for name in ("Actual", "Predicted", "nPredictions")}
        shown["test/confusion_matrix"] = wandb.plot_table("wandb/confusion_matrix/v1", table, fields)
    for name, class_curves, x, y in (("roc", roc, "fpr", "tpr"), ("pr", pr, "recall", "precision")):
        rows = [[c.name, a, b] for c in class_curves for a, b in zip(c.x.tolist(), c.y.tolist(), strict=True)]
        table = wandb.Table(columns=["class", x, y], data=rows)
        shown[f"test/{name}"] = wandb.plot_table(
            "wandb/area-under-curve/v0", table, {"x": x, "y": y, "class": "class"}, {"title": name.upper()}
        )
    columns: list[str | int] = ["sample", "target", "prediction", "loss", "inputs"]
    rows = [[m.sample, m.target, m.prediction, m.loss, _shown_inputs(m.inputs)] for m in mistakes]
    shown["test/worst"] = wandb.Table(columns=columns, data=rows)
    logger.experiment.log(shown)


def _shown_inputs(inputs: Tensor) -> Any:
    """Return an image, scaled to its range of values; for any other input, its shape and first values."""
    import wandb

    if inputs.ndim == 3 and inputs.shape[0] in (1, 3):
        low, high = inputs.min(), inputs.max()
        pixels = ((inputs - low) / (high - low).clamp_min(1e-12) * 255).byte()
        return wandb.Image(pixels.permute(1, 2, 0).squeeze(2).numpy())
    numbers = [f"{value:.4g}" for value in inputs.flatten()[:64].tolist()]
    return f"{list(inputs.shape)}: {' '.join(numbers)}{' ...' if inputs.numel() > 64 else ''}"


def _to_tensorboard(
    logger: TensorBoardLogger,
    matrix: Tensor | None,
    roc: list[Curve],
    pr: list[Curve],
    names: list[str],
    step: int,
) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print('figures: TensorBoard needs matplotlib: pip install -e ".[figures]", or --figures false')
        return

    def add(name: str, figure: Any) -> None:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
        width, height = canvas.get_width_height()
        logger.experiment.add_image(f"test/{name}", pixels.view(height, width, 4), step, dataformats="HWC")

    if matrix is not None:
        size = min(4 + 0.35 * len(names), 20)
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.subplots()
        axes.imshow((matrix / matrix.sum(1, keepdim=True).clamp_min(1)).numpy(), cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="prediction", ylabel="target", title="test: confusion matrix")
        if len(names) <= 50:
            axes.set_xticks(range(len(names)), list(map(_label, names)), rotation=90)
            axes.set_yticks(range(len(names)), list(map(_label, names)))
        for i, j in matrix.nonzero().tolist() if len(names) <= CLASSES else []:
            color = "white" if matrix[i, j] > matrix[i].sum() / 2 else "black"
            axes.text(j, i, str(int(matrix[i, j])), ha="center", va="center", color=color, fontsize=8)
        add("confusion_matrix", figure)
    for name, class_curves, x, y in (
        ("roc", roc, "false positive rate", "true positive rate"),
        ("pr", pr, "recall", "precision"),
    ):
        figure = Figure(figsize=(6, 5), layout="constrained")
        axes = figure.subplots()
        for curve in class_curves:
            axes.plot(curve.x.numpy(), curve.y.numpy(), label=_label(curve.name), linewidth=1)
        axes.set(xlabel=x, ylabel=y, title=f"test: {name.upper()}", xlim=(0, 1.01), ylim=(0, 1.01))
        if class_curves:
            axes.legend(fontsize=8)
        add(name, figure)


def _label(name: str) -> str:
    """Escape dollar signs in a class name, which matplotlib would read as mathematics."""
    return printable(name).replace("$", r"\$")
