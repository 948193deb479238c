"""The command `litnets`, also `python -m litnets`. What needs no torch is answered here, the rest by `cli.main`."""

import gc
import sys

HELP = """\
usage: litnets COMMAND [--config FILE] [--key value ...]

Train, test and use neural networks with PyTorch Lightning.

commands:
  fit         train a network, then test the best checkpoint
  validate    evaluate a checkpoint on the validation split
  test        evaluate a checkpoint on the test split
  predict     write a checkpoint's predictions for the test split, or for new data
  resume      go on with a run that was stopped: resume [RUN] [--key value ...]
  sync        send what runs kept for Weights & Biases while offline

examples:
  litnets fit --config configs/digits_mlp.yaml
  litnets fit --config configs/digits_mlp.yaml --model.lr 0.01 --trainer.max_epochs 5
  litnets fit --model CNNClassifier --data FashionMNIST
  litnets test --config checkpoints/digits_mlp/<run>/config.yaml
  litnets resume checkpoints/digits_mlp/<run>
  litnets predict --config checkpoints/my_table/<run>/config.yaml --data.predict_path new.csv

  litnets fit --help                        every option of a command
  litnets fit --model.help MLPClassifier    every option of a network (--data.help Digits: of a data set)
  litnets fit --config FILE --print_config  the whole configuration, nothing run
  --debug (or LITNETS_DEBUG=1)              a full traceback where an error is one line
"""


def main(args: list[str] | None = None) -> int:
    """Run the command; `args` are those of the command line unless given. Returns the exit code."""
    given = sys.argv[1:] if args is None else args
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if given[0] in ("-V", "--version"):
        from litnets import __version__

        print(f"litnets {__version__}")
        return 0
    if given[0] == "sync":
        from litnets.cli.commands.sync import sync

        return sync(given[1:])
    own = args is None  # a process of its own, not a call from Python
    try:
        # What is imported stays: looking through it for garbage, again and again, is a fifth of the start.
        if own:
            gc.disable()
        from litnets.cli.main import run

        if own:
            gc.enable()
            gc.freeze()
        return run(given)
    except KeyboardInterrupt:  # before `run` listens to signals
        return 130
    finally:
        if own:
            gc.unfreeze()  # what is not collected at the end is taken for leaks, and said to be, by triton


if __name__ == "__main__":
    sys.exit(main())
