"""The names that this package had before `make rename`: runs from before can still be tested and resumed.

Two things in a run carry the name of the package: class paths in its configuration (`litnets.CNNClassifier`), and
checkpoints saved before `litnets.training.resume.loop_state.KEY` existed. Both are read through this module.
"""

import re

FORMER_NAMES: tuple[str, ...] = ()  # `make rename` adds the name that it replaces


def update_class_paths(config: str) -> str:
    """Return a configuration (YAML or JSON) whose class paths name this package instead of a former one."""
    package = __name__.partition(".")[0]
    for former in FORMER_NAMES:
        config = re.sub(rf"(\bclass_path\"?: *[\"']?){re.escape(former)}\.", rf"\g<1>{package}.", config)
    return config
