"""Plan how to resume a run: from which state, and with which changes to its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litnets.errors import InputError
from litnets.former_names import update_class_paths
from litnets.runs.folder import Run
from litnets.safety.plain import load_yaml
from litnets.training.resume import loop_state
from litnets.training.resume.config_diff import check_changes, check_unfinished, diff_configs, stopped_early


@dataclass(frozen=True)
class ResumePlan:
    """What a resumed run continues from.

    Args:
        state: The training state in the checkpoint; None if there is no checkpoint, so that the run starts over.
        changes: The options that differ from the checkpoint's configuration: (old, new) by dotted key.
        stopped_early: Why early stopping has ended the run for good; None if it has not.
    """

    state: Mapping[str, Any] | None = None
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    stopped_early: str | None = None

    @property
    def position(self) -> loop_state.Position:
        """The (epoch, batch) to continue at, counted from 0."""
        return (0, 0) if self.state is None else (self.state["epoch"], self.state["batch"])


def plan_resume(
    run: Run, checkpoint: Path | None, content: Mapping[str, Any] | None, config: Any, config_yaml: str
) -> ResumePlan:
    """Compare the configuration with the checkpoint's. Check that the run can continue and is not finished.

    Args:
        run: The run to resume.
        checkpoint: Its last checkpoint; None if none was saved.
        content: The content of the checkpoint.
        config: The parsed options of `fit`.
        config_yaml: All of these options as YAML.

    Raises:
        InputError: The checkpoint holds no training state, or the run cannot resume because of a change.
        NothingToDo: The run is finished.
    """
    if content is None:
        return ResumePlan()
    state = loop_state.find_loop_state(content)
    if state is None:
        raise InputError(
            f"{checkpoint} holds no training state to resume from; --init_from starts a new run with its weights"
        )
    saved_config = load_yaml(f"config in checkpoint {checkpoint}", update_class_paths(state["config"]))
    changes = diff_configs(saved_config, load_yaml("the configuration", config_yaml))
    check_changes(changes, state)
    stopped = stopped_early(content, changes, config.early_stopping)
    check_unfinished(run, content, state, config, stopped, changes)
    return ResumePlan(state, changes, stopped)
