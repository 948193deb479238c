"""FinishedRun: the configuration, results and recorded predictions of a tested run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.storage import read_text
from litnets.safety.plain import load_yaml

# Options that may differ between two runs of one setting: the seed, names, and what does not change the network.
_NOT_A_SETTING = (
    "seed_everything",
    "config",
    "experiment",
    "runs_dir",
    "ckpt_path",
    "wandb",
    "recipe",
    "figures",
    "histograms",
    "keep_epochs",
    "calibrate",
    "report",
    "store_data",
    "baselines",
    "fast_loop",
    "test_after_fit",
    "record_predictions",
    "trainer.enable_progress_bar",
    "trainer.logger",
    "trainer.default_root_dir",
)
_LOWER_IS_BETTER = frozenset({"loss", "mse", "mae", "rmse"})
_FRACTIONS = frozenset({"accuracy", "auroc", "f1", "precision", "recall", "iou", "dice"})


@dataclass(frozen=True)
class FinishedRun:
    """A run that was tested.

    Args:
        run: The run folder.
        config: The options of its newest configuration, by dotted name.
        results: The content of results.json.
    """

    run: Run
    config: Mapping[str, Any]
    results: Mapping[str, Any]

    @classmethod
    def load(cls, run: Run) -> "FinishedRun":
        """Read a run folder.

        Raises:
            InputError: A file is damaged.
        """
        path = run.configs[-1]
        return cls(run, dict(_flatten(load_yaml(str(path), read_text(path)))), run.read_results())

    @property
    def setting(self) -> dict[str, Any]:
        """The options that runs of one setting have in common."""
        return {
            name: value
            for name, value in self.config.items()
            if not any(name == other or name.startswith(f"{other}.") for other in _NOT_A_SETTING)
        }

    @property
    def seed(self) -> Any:
        return self.config.get("seed_everything")

    @property
    def test(self) -> dict[str, float]:
        return {name: value for name, value in self.results["test"].items() if isinstance(value, int | float)}

    @property
    def validation_score(self) -> float | None:
        """The best value of the monitored metric, negated if lower is better; None if nothing was monitored."""
        best = self.results.get("best")
        if not best or best.get("score") is None:
            return None
        score = float(best["score"])
        return -score if is_lower_better(best["monitor"]) else score

    @cached_property
    def predictions(self) -> RecordedPredictions | None:
        """The predictions for each test sample; None if they were not recorded."""
        path = self.run.recorded_predictions("test")
        return RecordedPredictions.load(path) if path.exists() else None


def choose_metric(names: Sequence[str], monitor: str | None) -> str:
    """Return the test metric by which runs are judged.

    This is the monitored metric or, if that is the loss, R2 or the first other one. The loss is used only if there is
    no other metric, because different losses are not comparable.

    Args:
        names: The available test metrics, at least one.
        monitor: The monitored metric, such as `val/accuracy`.
    """
    others = [name for name in names if name != "loss"]
    monitored = (monitor or "").rpartition("/")[2]
    if monitored in others:
        return monitored
    return "r2" if "r2" in others else (others or names)[0]


def is_lower_better(metric: str) -> bool:
    """Return whether lower values of a metric, such as `val/loss`, are better."""
    return metric.rpartition("/")[2] in _LOWER_IS_BETTER


def metric_range(metric: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a metric can have; infinite without a known bound."""
    if metric in _FRACTIONS:
        return 0.0, 1.0
    low = 0.0 if metric in _LOWER_IS_BETTER and metric != "loss" else -math.inf  # a custom loss may be negative
    return low, 1.0 if metric == "r2" else math.inf


def is_better(metric: str, score: float, other: float) -> bool:
    """Return whether a score of a metric is better than another one."""
    return score < other if is_lower_better(metric) else score > other


def best_baseline(baselines: Mapping[str, Mapping[str, float]], metric: str) -> tuple[str, float] | None:
    """Return the name and the score of the baseline that is best by a metric; None if no baseline has it."""
    scores = {name: values[metric] for name, values in baselines.items() if values.get(metric) is not None}
    if not scores:
        return None
    name = (min if is_lower_better(metric) else max)(scores, key=scores.__getitem__)
    return name, scores[name]


def _flatten(config: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the dotted name and value of each option."""
    if not isinstance(config, Mapping) or not config:
        yield prefix, config
        return
    for name, value in config.items():
        yield from _flatten(value, f"{prefix}.{name}" if prefix else str(name))
