"""The default recipe: how a network is trained on your data, unless you set the options yourself.

Each choice is a function of what is known about the data before training: nothing is searched, and nothing is trained
twice. docs/recipe.md gives the reason and the measurement of each choice. `litnets.cli.apply_recipe` applies them.
"""

import math
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

Network = Literal["linear", "mlp", "cnn", "resnet", "rnn", "cnn1d", "transformer", "unet", "other"]
Inputs = Literal["rows", "images", "sequences", "tokens", "windows"]

# Learning rates of AdamW, for the peak of the schedule.
_LEARNING_RATES: dict[Network, float] = {
    "linear": 1e-2,
    "mlp": 2e-3,
    "cnn": 5e-3,
    "resnet": 3e-3,
    "rnn": 3e-3,
    "cnn1d": 2e-3,
    "transformer": 1e-3,
    "unet": 3e-3,
}


@dataclass(frozen=True)
class Facts:
    """What is known before training starts.

    Args:
        network: The kind of network.
        inputs: What a sample is: a row of a table, an image, a sequence of numbers, a text, or a window of a series to
            forecast.
        samples: Number of training samples.
        has_classes: Whether the targets are classes.
        is_multilabel: Whether a sample can have several classes.
        image_side: Shorter side of an image, in pixels.
        is_photo: Whether the images have colors.
        has_masks: Whether the targets are masks, with a class for each pixel.
    """

    network: Network
    inputs: Inputs
    samples: int
    has_classes: bool = False
    is_multilabel: bool = False
    image_side: int = 0
    is_photo: bool = False
    has_masks: bool = False


def batch_size(facts: Facts) -> int:
    """Return the number of samples per batch: a power of two from 8 to 128, for about 16 batches per epoch.

    A batch with masks has at most a million pixels, because the memory for training grows with the number of pixels.
    """
    size = min(max(2 ** round(math.log2(max(facts.samples, 1) / 16)), 8), 128)
    if facts.has_masks:
        size = max(min(size, 2 ** int(math.log2(2**20 / max(facts.image_side, 1) ** 2))), 1)
    return int(size)


def epochs(facts: Facts, steps_per_epoch: int) -> int:
    """Return the number of epochs.

    A small data set is trained for a minimum of optimizer steps, a large one for a minimum of epochs. Both are lowest
    for texts, because networks memorize texts quickly.
    """
    steps, passes = {
        "rows": (600, 60),
        "images": (800, 25),
        "sequences": (800, 40),
        "tokens": (400, 12),
        "windows": (1500, 20),
    }[facts.inputs]
    return max(passes, math.ceil(steps / steps_per_epoch))


def patience(num_epochs: int) -> int:
    """Return the patience of early stopping: a third of the number of epochs, at least 5."""
    return max(5, math.ceil(num_epochs / 3))


def optimization(facts: Facts) -> dict[str, Any]:
    """Return the arguments of the optimizer, its schedule, and the gradient clipping of RNNs and Transformers.

    The schedule is a linear warm-up and a cosine decay to zero.
    """
    choices: dict[str, Any] = {"model.lr_scheduler": "WarmupCosineLR"}
    if facts.network in _LEARNING_RATES:
        choices |= {"model.lr": _LEARNING_RATES[facts.network], "model.weight_decay": 0.05}
    if facts.network in ("rnn", "transformer"):
        choices["trainer.gradient_clip_val"] = 1.0
    return choices


def regularization(facts: Facts) -> dict[str, Any]:
    """Return dropout, label smoothing, and the choices of initialization, pooling and linear skip connection."""
    choices: dict[str, Any] = {}
    if facts.inputs != "windows":
        choices["model.dropout"] = {"rows": 0.2, "images": 0.1, "sequences": 0.2, "tokens": 0.5}[facts.inputs]
    elif facts.network == "mlp":
        choices |= {"model.linear_skip": True, "model.dropout": 0.2}
    if facts.inputs == "tokens":
        choices |= {"data.token_dropout": 0.1, "model.embedding_scale": 0.1}
    if facts.has_classes and not (facts.is_multilabel or facts.has_masks) and facts.inputs in ("images", "sequences"):
        choices["model.label_smoothing"] = 0.1
    if facts.network == "linear" and facts.inputs == "windows":
        choices["model.init"] = "zeros"
    if facts.network == "rnn" and facts.inputs in ("tokens", "sequences"):
        choices["model.pooling"] = "max"
    return choices


def augmentation(facts: Facts) -> list[dict[str, Any]]:
    """Return the augmentations for convolutional networks: shifts, and flips for photos."""
    if facts.inputs != "images" or facts.network not in ("cnn", "resnet", "unet", "other"):
        return []
    pixels = max(1, facts.image_side // (8 if facts.is_photo else 16))
    shift = {"class_path": "RandomShift", "init_args": {"pixels": pixels, "padding": "reflect"}}
    flip = {"class_path": "RandomFlip", "init_args": {}}
    return [shift, flip] if facts.is_photo else [shift]


def tokenization(texts: list[str]) -> dict[str, Any]:
    """Return the unit of tokenization: characters for names and for scripts without spaces, else words in lower case.

    Args:
        texts: Texts that the choice is based on.
    """
    words = [len(text.split()) for text in texts]
    letters = sum(len(text) for text in texts) / max(sum(words), 1)
    if median(words) <= 2 or letters > 15:
        return {"data.tokens": "characters"}
    return {"data.tokens": "words", "data.lowercase": True}


def table_encoding(has_classes: bool) -> dict[str, Any]:
    """Return how a table is encoded: for classes, the numbers of skewed columns are mapped to a normal distribution.

    Args:
        has_classes: Whether the targets are classes. For numeric targets, skewed columns are not mapped, because the
            targets often depend on how large the largest values are.
    """
    return {"data.normalize_skewed": True} if has_classes else {}


def choose(facts: Facts, batch: int, num_epochs: int) -> dict[str, Any]:
    """Return the value of each option that the recipe chooses.

    Args:
        facts: What is known before training.
        batch: Samples per batch, as set by the user or chosen by `batch_size`.
        num_epochs: Number of epochs, as set by the user or chosen by `epochs`.
    """
    choices: dict[str, Any] = {
        "data.batch_size": batch,
        "trainer.max_epochs": num_epochs,
        "early_stopping.patience": patience(num_epochs),
    }
    if facts.has_classes and not facts.has_masks:
        choices["monitor"] = "val/loss"
    if images := augmentation(facts):
        choices["data.augment"] = images
    return choices | optimization(facts) | regularization(facts)
