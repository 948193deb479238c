"""Correct the names that other programs use: suggest `--model.lr 0.01` for `--lr 0.01`.

To add a name, add a line to a table.
"""

import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from litnets.errors import InputError, did_you_mean

COMMANDS = {
    "train": "fit",
    "training": "fit",
    "run": "fit",
    "start": "fit",
    "eval": "test",
    "evaluate": "test",
    "evaluation": "test",
    "val": "validate",
    "valid": "validate",
    "infer": "predict",
    "inference": "predict",
    "continue": "resume",
    "restart": "resume",
}

# The last part of an option, and the option that it stands for. A value in this table replaces the user's value.
OPTIONS = {
    "accelerator": "trainer.accelerator",
    "acc_grad": "trainer.accumulate_grad_batches",
    "amp": "trainer.precision 16-mixed",
    "batch": "data.batch_size",
    "batches": "trainer.limit_train_batches",
    "bf16": "trainer.precision bf16-mixed",
    "bs": "data.batch_size",
    "cfg": "config",
    "checkpoint": "init_from",
    "checkpoint_path": "init_from",
    "ckpt": "init_from",
    "clip": "trainer.gradient_clip_val",
    "clip_grad": "trainer.gradient_clip_val",
    "conf": "config",
    "cpu": "trainer.accelerator cpu",
    "cuda": "trainer.accelerator gpu",
    "dataset": "data",
    "device": "trainer.accelerator",
    "dry_run": "trainer.fast_dev_run true",
    "epoch": "trainer.max_epochs",
    "epochs": "trainer.max_epochs",
    "exp": "experiment",
    "exp_name": "experiment",
    "fp16": "trainer.precision 16-mixed",
    "gpu": "trainer.accelerator gpu",
    "gpus": "trainer.devices",
    "grad_clip": "trainer.gradient_clip_val",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches",
    "half": "trainer.precision 16-mixed",
    "hidden": "model.hidden_layer_sizes",
    "hidden_size": "model.hidden_layer_sizes",
    "hidden_sizes": "model.hidden_layer_sizes",
    "input": "data.predict_path",
    "inputs": "data.predict_path",
    "iterations": "trainer.max_steps",
    "jobs": "data.num_workers",
    "learning_rate": "model.lr",
    "log_dir": "runs_dir",
    "logdir": "runs_dir",
    "max_epoch": "trainer.max_epochs",
    "max_iter": "trainer.max_steps",
    "metric": "monitor",
    "mixed_precision": "trainer.precision 16-mixed",
    "n_epochs": "trainer.max_epochs",
    "name": "experiment",
    "net": "model",
    "network": "model",
    "no_cuda": "trainer.accelerator cpu",
    "no_wandb": "wandb.mode off",
    "num_epochs": "trainer.max_epochs",
    "num_gpus": "trainer.devices",
    "optim": "model.optimizer",
    "out": "runs_dir",
    "out_dir": "runs_dir",
    "output": "runs_dir",
    "output_dir": "runs_dir",
    "patience": "early_stopping.patience",
    "pretrained": "init_from",
    "random_seed": "seed_everything",
    "random_state": "seed_everything",
    "run_name": "experiment",
    "save_dir": "runs_dir",
    "scheduler": "model.lr_scheduler",
    "seed": "seed_everything",
    "steps": "trainer.max_steps",
    "use_wandb": "wandb.mode online",
    "val_split": "data.val_size",
    "validation_split": "data.val_size",
    "wandb": "wandb.mode online",
    "wandb_project": "wandb.project",
    "wd": "model.weight_decay",
    "weights": "init_from",
    "workers": "data.num_workers",
}


# The groups in which to look for an option that was typed without its group, such as `--max_time`.
_GROUPS = ("trainer.", "model.", "data.", "wandb.")


def correct_command(args: Sequence[str], commands: Iterable[str]) -> str:
    """Return the hint for arguments that do not begin with a command, such as `; did you mean 'fit'?`.

    Args:
        args: The arguments.
        commands: The commands.
    """
    name, rest = args[0], args[1:]
    if name in COMMANDS:
        return f"; did you mean '{COMMANDS[name]}'?"
    if config := find_config(name):
        return f"; did you mean `{line('fit', '--config', config, *rest)}`?"
    return did_you_mean(name, commands)


def command_first(args: Sequence[str], commands: Iterable[str]) -> str:
    """Return the line in which the command comes first.

    Args:
        args: The arguments, of which the first is an option.
        commands: The commands.
    """
    command = next((arg for arg in args if arg in commands), "fit")
    return line(command, *(arg for arg in args if arg != command))


def correct_option(option: str, args: Sequence[str], options: Iterable[str]) -> str | None:
    """Return the arguments that an unknown option probably means, with its value, or None.

    Args:
        option: The option, without dashes.
        args: The arguments of the command line, from which the value is taken.
        options: The options of the command, of the models and of the data, with their dots.
    """
    names = list(options)
    last = option.rpartition(".")[2].replace("-", "_").lower()
    if last == "resume":
        return f"`{line('resume', value_of(option, args) or 'RUN')}`"
    if last.startswith("no_") and last[3:] in names:
        return f"--{last[3:]} false"
    same_name = (name for name in names if name.rpartition(".")[2] == last and name.startswith(_GROUPS))
    meant = OPTIONS.get(last) or next(same_name, None)
    if meant == "init_from" and args and args[0] != "fit":
        meant = "ckpt_path"
    if meant is None or meant == option:
        return None
    value = value_of(option, args)
    return f"--{meant}" if " " in meant or value is None else f"--{meant} {shlex.quote(value)}"


def correct_argument(args: Sequence[str]) -> str:
    """Return the problem with the first argument of `litnets fit`, which is not an option, and the line that works."""
    command, argument, rest = args[0], args[1], args[2:]
    if argument == "help":
        return f"'{argument}' is not an option; did you mean `{line(command, '--help')}`?"
    if config := find_config(argument):
        return f"a configuration follows --config: `{line(command, '--config', config, *rest)}`"
    return f"'{argument}' is not an option; did you mean `litnets {command} --config FILE` or --key value?"


def check_help(args: Sequence[str]) -> None:
    """Check that `--model.help` and `--data.help` name a class.

    Raises:
        InputError: One of them does not.
    """
    for arg, following in pairwise([*args, "--"]):
        if arg in ("--model.help", "--data.help") and following.startswith("--"):
            example = "MLPClassifier" if arg == "--model.help" else "Digits"
            raise InputError(f"{arg}: expected a class, such as in `{line(args[0], arg, example)}`")


def find_config(name: str) -> str | None:
    """Return the configuration that a name stands for: a file, with or without `configs/` and `.yaml`."""
    for path in (name, f"{name}.yaml", f"configs/{name}", f"configs/{name}.yaml"):
        if path.endswith((".yaml", ".yml")) and "\0" not in path and Path(path).is_file():
            return path
    return None


def value_of(option: str, args: Sequence[str]) -> str | None:
    """Return the value of an option on the command line, given as `--option value` or `--option=value`."""
    for position, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name.lstrip("-") == option:
            if equals:
                return value
            following = args[position + 1] if position + 1 < len(args) else ""
            return following if following and not following.startswith("--") else None
    return None


def line(*args: str) -> str:
    """Return the command line with these arguments."""
    return f"litnets {shlex.join(args)}"
