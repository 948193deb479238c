"""The comparison of the default recipe with a random search: what is chosen, and by what."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import defaults


def test_random_settings_are_the_same_for_each_network() -> None:
    first, again = (list(defaults.random_settings([], 5, 100)) for _ in range(2))
    assert first == again
    assert len({tuple(setting) for setting in first}) == 5
    linear = list(defaults.random_settings(["LinearForecaster"], 5, 100))
    assert not any(option.startswith("--model.dropout") for setting in linear for option in setting)


@pytest.mark.parametrize(("monitor", "chosen"), [("val/accuracy", 0.5), ("val/loss", 0.1)])
def test_the_setting_with_the_best_validation_score_is_tested(
    monitor: str, chosen: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.3, 0.1, 0.5])
    trainings = []

    def train(options: list[str], seed: int) -> dict[str, Any]:
        trainings.append((options, seed))
        is_trial = "--recipe=false" in options and seed == 42
        score = next(scores) if is_trial else 0.0
        return {"best": {"monitor": monitor, "score": score}, "test": {"accuracy": score}, "seconds": 1.0}

    monkeypatch.setattr(defaults, "train", train)
    data: Any = SimpleNamespace(ensure_setup=lambda: None)
    case = defaults.Case("--model M", "accuracy", lambda folder: data, lambda datamodule: 0.7)
    row = defaults.compare(case, Path("data"), trials=3, seeds=2, longest=100)
    assert row["search"] == [chosen, 0.0]
    assert row["baseline"] == 0.7
    assert trainings[-1] == (["--model", "M", "--recipe=false", *row["setting"]], 43)
    assert [options for options, _ in trainings[:2]] == [["--model", "M"]] * 2
