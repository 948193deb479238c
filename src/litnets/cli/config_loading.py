"""Load and dump configurations, which may be damaged or come from somebody else."""

from typing import Any

import yaml
from jsonargparse import set_dumper, set_loader

from litnets.former_names import update_class_paths
from litnets.internals import keep_strings, read_configs_as_utf8, set_yaml_loader
from litnets.safety.plain import DuplicateKeyError, Loader, dump_yaml


def load_config(text: str, path: str = "") -> Any:
    """Load YAML, also that of runs which were made before the package was renamed.

    Args:
        text: The YAML.
        path: The file, for the error message.

    Raises:
        yaml.YAMLError: It is not valid, holds a key twice, or is too large or too deeply nested; see
            `litnets.safety.plain.Loader`.
    """
    try:
        return yaml.load(update_class_paths(text), Loader=Loader)
    except DuplicateKeyError as error:
        raise DuplicateKeyError(f"{path}: {error}" if path else str(error)) from None


def configure_jsonargparse() -> None:
    """Let jsonargparse read, load and dump YAML as this package does, so that every string stays as it is."""
    set_yaml_loader(Loader)
    set_loader("yaml", load_config, (yaml.YAMLError,))
    set_dumper("yaml", dump_yaml)
    keep_strings()
    read_configs_as_utf8()
