"""Parse and check the options of `fit` without training, for commands that start several runs."""

from typing import Any

from jsonargparse import Namespace

from litnets.cli.app import LitnetsCLI
from litnets.cli.error_messages import init_arguments
from litnets.cli.resolve_run import check_runs_dir, config_paths, fill_in_defaults
from litnets.cli.untrusted import check_plain_arguments, check_run_config
from litnets.data.core.splits import PARTS
from litnets.errors import InputError
from litnets.runs.storage import read_text
from litnets.safety.resolving import import_object
from litnets.training.signals import Signals


class ParsedFit(LitnetsCLI):
    """The options of `fit`, without data, model and Trainer.

    Args:
        command: The command that takes these options, for its error messages.
        args: The options.
        signals: The signal handlers of the process.

    Raises:
        InputError: An option is wrong, or a run with these options would leave no scores or need several devices.

    Attributes:
        configs: The content of the configurations by their path.
    """

    def __init__(self, command: str, args: list[str], signals: Signals) -> None:
        super().__init__(["fit", *args], signals)
        options = self.options
        if not options.get("data"):
            raise InputError(f"{command}: expected a configuration or a model and data, as for `litnets fit`")
        if self._ckpt_path is not None:
            raise InputError(f"{command}: --ckpt_path resumes one run; --init_from starts each run with its weights")
        if options.trainer.fast_dev_run:
            raise InputError(f"{command}: --trainer.fast_dev_run keeps no run; use it with `litnets fit`")
        devices = options.trainer.devices
        if str(devices) != "1" and not (isinstance(devices, list) and len(devices) == 1):
            raise InputError(f"{command}: each run is trained on one device, got --trainer.devices {devices}; omit it")
        if not options.test_after_fit:
            raise InputError(f"{command}: --test_after_fit false leaves no scores; omit it")
        self._command_name, self.args = command, args
        self.configs = self._read_configs()
        self._report_limits()

    def _report_limits(self) -> None:
        """Print which options limit the number of batches in an epoch."""
        values = {f"limit_{part}_batches": self.options.trainer[f"limit_{part}_batches"] for part in PARTS}
        # The integer 1 stands for one batch, and the float 1.0 for all of them.
        is_all = {name: value is None or (isinstance(value, float) and value == 1) for name, value in values.items()}
        limits = [f"--trainer.{name} {value}" for name, value in values.items() if not is_all[name]]
        if limits:
            print(f"{self._command_name}: {', '.join(limits)}: the results come from a part of the data", flush=True)

    def before_instantiate_classes(self) -> None:
        check_plain_arguments(self.options)
        check_run_config(self.options, self._args, config_paths(self.options))
        fill_in_defaults(self.options)
        check_runs_dir(self.options, self._args)

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""

    @property
    def data_arguments(self) -> dict[str, Any]:
        """The arguments of the data that the options set, by name."""
        data = self.options.data
        return dict(vars(data.get("init_args") or Namespace())) if isinstance(data, Namespace) else {}  # type: ignore[no-untyped-call]

    @property
    def data_class(self) -> type:
        """The class of the data."""
        data: Any = self.options.data
        cls: type = import_object(data.class_path) if isinstance(data, Namespace) else type(data)
        return cls

    def data_takes(self, argument: str) -> bool:
        """Return whether the class of the data has an argument of this name."""
        return argument in init_arguments(self.data_class)

    def check_configs(self) -> None:
        """Raise InputError if a configuration is no longer what it was when the command started."""
        if self._read_configs() != self.configs:
            names = ", ".join(self.configs)
            raise InputError(
                f"{self._command_name}: {names} changed after the first run; undo the change to continue, or run the "
                "command again to start in a new folder"
            )

    def _read_configs(self) -> dict[str, str]:
        """Return the content of the configurations by their path."""
        return {str(path): read_text(path) for path in config_paths(self.options)}
