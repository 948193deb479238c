"""Load configurations, which may be damaged or come from somebody else."""

from typing import Any

import yaml
from jsonargparse import get_loader

from litnets.former_names import update_class_paths

_MAX_VALUES = 1_000_000

_load_yaml = get_loader("yaml")


def load_config(text: str) -> Any:
    """Load YAML, also that of runs which were made before the package was renamed.

    Raises:
        yaml.YAMLError: It is not valid, or its aliases expand to millions of values.
    """
    content = _load_yaml(update_class_paths(text))
    if _count_values(content, {}) > _MAX_VALUES:
        raise yaml.YAMLError(f"aliases that expand to more than {_MAX_VALUES:,} values")
    return content


def _count_values(node: Any, counts: dict[int, int]) -> int:
    """Count the values of nested lists and dicts. What an alias repeats is counted again, but visited only once."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if id(node) not in counts:
        counts[id(node)] = _MAX_VALUES + 1  # for an alias to the node that contains it
        counts[id(node)] = 1 + sum(_count_values(child, counts) for child in children)
    return counts[id(node)]
