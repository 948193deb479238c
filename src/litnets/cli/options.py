"""The descriptions of the commands, and their options besides those of the Trainer, the model and the data."""

from typing import Any, Literal, NamedTuple

from jsonargparse.typing import PositiveInt, restricted_number_type
from lightning.pytorch.cli import LightningArgumentParser

from litnets.cli.defaults import default_monitor, default_monitor_mode
from litnets.tracking.learning_rate import CompactLearningRateMonitor
from litnets.tracking.wandb_logger import WandbOptions
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.selection import TieBreakingEarlyStopping

# A change shows only between two epochs or more. The initial weights count as epoch 0.
KeptEpochs = restricted_number_type("KeptEpochs", int, (">=", 2))

_RUN = "RUN is a run folder, the name of an experiment (its newest run), or a checkpoint in a run folder."
DESCRIPTIONS = {
    "fit": "Train a network, then test the best checkpoint.",
    "validate": f"Evaluate a run on the validation split: litnets validate RUN [--key value ...]. {_RUN}",
    "test": f"Evaluate a run on the test split, or on new data: litnets test RUN [--on NEW] [--key value ...]. {_RUN}",
    "predict": f"Write the predictions for the test split: litnets predict RUN [--key value ...]. {_RUN} New inputs: "
    "litnets predict RUN INPUT...; see litnets predict --help.",
}


class Option(NamedTuple):
    """An option of the command line: its name, type, default value and help."""

    name: str
    type: Any
    default: Any
    help: str


OPTIONS = (
    Option("experiment", str | None, None, "Folder of the runs (default: the name of the first config)."),
    Option("runs_dir", str, "checkpoints", "Folder of the experiments."),
    Option("monitor", str | None, None, "Metric that selects the best epoch (default: the task's)."),
    Option(
        "monitor_mode",
        Literal["min", "max"] | None,
        None,
        "Whether lower or higher values of --monitor are better.",
    ),
    Option(
        "recipe",
        bool,
        True,
        "Choose length, batch size, learning rate, regularization and augmentation of a new training from the data, "
        "unless an option or a configuration sets them; see docs/recipe.md. config.yaml holds the choices.",
    ),
    Option("test_after_fit", bool, True, "Test the best checkpoint after training."),
    Option(
        "stop_after_epoch",
        PositiveInt | None,
        None,
        "Stop after this epoch; `litnets resume` continues as if training had not stopped. The learning-rate schedule "
        "keeps the length that --trainer.max_epochs gives it.",
    ),
    Option(
        "keep_epochs",
        KeptEpochs | None,
        None,
        "Keep the weights of at most this many evenly spaced epochs in the run folder (at most 1 GB); the report shows "
        "how the predictions change over them.",
    ),
    Option("init_from", str | None, None, "Checkpoint whose weights a new run starts with (fine-tuning)."),
    Option("init_partial", bool, False, "Skip the parts of --init_from that do not fit the model."),
    Option(
        "figures",
        bool | None,
        None,
        "Log the confusion matrix, ROC and PR curves of a test to TensorBoard and W&B "
        "(default: if matplotlib is installed, or W&B draws them).",
    ),
    Option(
        "fast_loop", bool, True, "Train with a faster epoch loop; false uses Lightning's. The results are the same."
    ),
    Option(
        "record_predictions",
        bool,
        True,
        "After a test, write the predictions for each sample of the test and validation splits into the run folder.",
    ),
    Option(
        "calibrate",
        bool,
        True,
        "After a test, calibrate the network with the recorded validation predictions: temperature scaling, prediction "
        "sets and intervals; see docs/calibration.md. Later predictions use it.",
    ),
    Option(
        "report",
        bool | None,
        None,
        "Write a report of the run, report.html and model_card.md, after the training (default: if that takes less "
        "than two seconds or 2% of the training).",
    ),
    Option(
        "store_data",
        bool,
        True,
        "Write statistics of the data and at most 200 inputs (at most 2 MB) into the run folder, for the report.",
    ),
    Option(
        "baselines",
        bool | None,
        None,
        "Test simple methods on the same data, such as the most frequent class, logistic regression or a linear "
        "forecast (default: those that should take less than about four seconds each).",
    ),
    Option(
        "histograms",
        bool,
        False,
        "Log histograms of weights, gradients and activations to TensorBoard, once an epoch; the report shows them.",
    ),
)


def add_options(parser: LightningArgumentParser, command: str) -> None:
    """Add the options of a command, those of its callbacks among them, to its parser."""
    for option in OPTIONS:
        parser.add_argument(f"--{option.name}", type=option.type, default=option.default, help=option.help)
    if command in ("test", "validate"):
        text = "Split the data again instead of keeping the split of the run."
        parser.add_argument("--split_again", action="store_true", help=text)
    if command == "test":
        text = "New labeled data to evaluate on instead of the test split; they are encoded as in training."
        parser.add_argument("--on", type=str | None, default=None, help=text)
    if command == "predict":
        text = "File of the predictions, CSV (default: predictions.csv in the run folder)."
        parser.add_argument("--output", type=str | None, default=None, help=text)
        text = "Replace the file of the predictions if it exists."
        parser.add_argument("--overwrite", action="store_true", help=text)
    parser.add_class_arguments(WandbOptions, "wandb")
    parser.add_lightning_class_args(Checkpoint, "checkpoint")
    parser.add_lightning_class_args(TieBreakingEarlyStopping, "early_stopping")
    parser.add_lightning_class_args(CompactLearningRateMonitor, "lr_monitor")
    parser.set_defaults({"early_stopping.patience": 10})
    for callback in ("checkpoint", "early_stopping"):
        parser.link_arguments(("monitor", "model"), f"{callback}.monitor", default_monitor)
        parser.link_arguments(("monitor", "monitor_mode", "model"), f"{callback}.mode", default_monitor_mode)
