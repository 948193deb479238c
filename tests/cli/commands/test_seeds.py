import json
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.runs.folder import Run

OPTIONS = ["--model", "MLPClassifier", "--data", "Iris", "--trainer.max_epochs", "1", "--recipe", "false"]


def test_seeds_differ_in_their_weights_but_not_in_their_split(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seeds", "--seeds", "7,3", *OPTIONS]) == 0
    (parent,) = Path("checkpoints").glob("*/seeds_*")
    first, second = Run(parent / "seed_7"), Run(parent / "seed_3")
    assert first.split.read_bytes() == second.split.read_bytes()
    content = json.loads((parent / "seeds.json").read_text())
    losses = [scores["loss"] for scores in content["runs"].values()]
    assert losses == [run.read_results()["test"]["loss"] for run in (first, second)]
    assert losses[0] != losses[1]
    assert content["test_train_ratio"] == 0
    assert content["ensemble"].keys() == {"accuracy"}
    assert "ensemble" in capsys.readouterr().out
    assert (parent / "seeds.csv").read_text().startswith("run,loss,accuracy,")


@pytest.mark.parametrize("seeds", ["1", "42,", "42,42", "a", "1,b", "-3"])
def test_wrong_seeds_are_refused(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seeds", f"--seeds={seeds}", *OPTIONS]) == 2
    assert "seeds: --seeds: expected at least 2, or a list of different seeds" in capsys.readouterr().err
    assert not Path("checkpoints").exists()


def test_a_seed_that_torch_does_not_take_is_refused_before_the_first_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["seeds", "--seeds", "-1,-2", *OPTIONS]) == 2
    assert "seeds: --seeds: expected seeds from 0 to 4294967295, got -1" in capsys.readouterr().err
    assert main(["seeds", "--seeds", "9" * 20, *OPTIONS]) == 2
    assert "seeds: --seeds: expected at most 10,000 seeds, got 9999" in capsys.readouterr().err
    assert main(["seeds", f"--seeds=1,{2**32}", *OPTIONS]) == 2
    assert f"seeds: --seeds: expected seeds from 0 to 4294967295, got {2**32}" in capsys.readouterr().err
    assert not Path("checkpoints").exists()
