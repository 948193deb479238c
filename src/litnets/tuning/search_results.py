"""What a search leaves in its folder: best.yaml, trials.csv, search.json and pictures."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from litnets.runs.folder import Run
from litnets.runs.storage import read_text, write_json, write_text
from litnets.safety.plain import dump_yaml, load_yaml
from litnets.tuning.jobs import FinishedJob
from litnets.tuning.search import Settings
from litnets.tuning.trials import Trial, Trials


def summarize_search(
    folder: Path, settings: Settings, trials: Trials, winner: Trial, final: Sequence[FinishedJob]
) -> dict[str, Any]:
    """Return the results of a search, as search.json holds them.

    Args:
        folder: The folder of the search.
        settings: The settings.
        trials: The trials.
        winner: The best trial.
        final: The runs of the winner with fresh seeds.
    """
    all_trials = trials.read()
    epochs, score = list(winner.scores.items())[-1]
    results = [job.run.read_results() for job in final]
    validation = _spread([result["best"]["score"] for result in results])
    tests = [result["test"] for result in results if "test" in result]
    importance, num_compared, compared_at = trials.importance(all_trials)
    local = [trial for trial in all_trials if trial.is_local]
    return {
        "monitor": settings.monitor,
        "mode": settings.mode,
        "space": {parameter.name: str(parameter) for parameter in settings.space},
        "winner": {
            "trial": winner.name,
            "values": settings.values_of(winner.params),
            "epochs": epochs,
            "score": score,
        },
        "final": {
            "runs": [job.job.name for job in final],
            "validation": validation,
            "test": {name: _spread([test[name] for test in tests]) for name in (tests[0] if tests else ())},
        },
        "optimism": settings.rank(score) - settings.rank(validation["mean"]),
        "importance": importance,
        "importance_trials": num_compared,
        "importance_epochs": compared_at,
        "trials": len(all_trials),
        "failed": sum(trial.state == "failed" for trial in all_trials),
        "epochs_trained": sum(trained_epochs(folder, trial) for trial in local),
        "epochs_without_halving": len(local) * settings.rungs[-1],
        "seconds": trials.seconds,
    }


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean and standard deviation of scores; None for both if one of the scores is not a number."""
    numbers = [value for value in values if value is not None]
    is_complete = len(numbers) == len(values)
    std = statistics.stdev(numbers) if is_complete and len(numbers) > 1 else None
    return {"mean": statistics.fmean(numbers) if is_complete else None, "std": std, "values": list(values)}


def trained_epochs(folder: Path, trial: Trial) -> int:
    """Return the number of epochs that a trial was trained for."""
    return int(Run(folder / trial.name).read_results().get("epochs", 0))


def write_search(folder: Path, settings: Settings, trials: Sequence[Trial], results: Mapping[str, Any]) -> list[str]:
    """Write the files of a finished search, and return their names."""
    write_text(folder / "trials.csv", _table(folder, settings, trials))
    write_text(folder / "best.yaml", _best_config(folder, settings, results))
    write_json(folder / "search.json", results)  # last, because it marks the search as finished
    return ["best.yaml", "trials.csv", "search.json"]


def _table(folder: Path, settings: Settings, trials: Sequence[Trial]) -> str:
    """Return a row for each trial: its state, its values, and its score at each rung."""
    text = io.StringIO()
    names = [parameter.name for parameter in settings.space]
    scores = [f"{settings.monitor} at {rung}" for rung in settings.rungs]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "run", "state", "epochs", "seed", *names, *scores, "error"])
    for trial in trials:
        values = settings.values_of(trial.params).values()
        at_rungs = [trial.scores.get(rung, "") for rung in settings.rungs]
        epochs = trained_epochs(folder, trial) if trial.is_local else max(trial.scores, default=0)
        writer.writerow(
            [trial.number, trial.name, trial.state, epochs, trial.seed, *values, *at_rungs, trial.error or ""]
        )
    return text.getvalue()


def _best_config(folder: Path, settings: Settings, results: Mapping[str, Any]) -> str:
    """Return the configuration of the winner, for `litnets fit --config`."""
    path = Run(folder / results["final"]["runs"][0]).config
    config = load_yaml(str(path), read_text(path)) | {"seed_everything": settings.seed}
    validation = results["final"]["validation"]
    header = [
        f"The best of {results['trials']} trials of `litnets search`: " + ", ".join(
            f"{name} {value}" for name, value in results["winner"]["values"].items()
        ),
        f"{settings.monitor} {validation['mean']:.4f} (mean of {len(validation['values'])} fresh seeds)",
    ]  # fmt: skip
    return "".join(f"# {line}\n" for line in header) + dump_yaml(config)
