"""Load configurations, which may be damaged or come from somebody else."""

from typing import Any

from jsonargparse import get_loader

from litnets.former_names import update_class_paths
from litnets.internals import extend_yaml_loader
from litnets.safety.plain import BoundedYaml

# Aliases that expand without end, or tens of thousands of levels, are refused in files and in the texts within them.
extend_yaml_loader(BoundedYaml)
_load_yaml = get_loader("yaml")


def load_config(text: str) -> Any:
    """Load YAML, also that of runs which were made before the package was renamed.

    Raises:
        yaml.YAMLError: It is not valid, or too large or too deeply nested; see `litnets.safety.plain.BoundedYaml`.
    """
    return _load_yaml(update_class_paths(text))
