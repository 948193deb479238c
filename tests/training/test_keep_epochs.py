"""The weights of evenly spaced epochs in a run folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import litnets
from litnets.__main__ import main
from litnets.runs.folder import Run
from litnets.runs.spacing import evenly_spaced
from litnets.training import keep_epochs
from litnets.training.checkpoints.loading import load_checkpoint

FIT = ["fit", "--model=MLPClassifier", "--model.hidden_layer_sizes=[4]", "--data=Iris", "--recipe=false"]
FIT += ["--model.lr_scheduler=OneCycleLR", "--test_after_fit=false", "--trainer.max_epochs=6", "--trainer.logger=false"]


def fit(runs_dir: str, *options: str) -> Run:
    assert main([*FIT, f"--runs_dir={runs_dir}", *options]) == 0
    (config,) = Path(runs_dir).rglob("config.yaml")
    return Run(config.parent)


def weights(path: Path) -> torch.Tensor:
    state = torch.load(path, weights_only=True)["state_dict"]
    return torch.cat([value.flatten() for value in state.values()])


def test_epochs_are_evenly_spaced_and_never_needed_again_once_removed() -> None:
    for limit in (2, 3, 10):
        before = range(1)
        for epochs in range(1, 70):
            after = evenly_spaced(epochs, limit)
            assert limit / 2 < len(after) <= limit or after == range(epochs + 1)
            assert set(after) <= {*before, epochs}
            before = after


def test_a_resumed_run_keeps_the_epochs_of_an_uninterrupted_one() -> None:
    run = fit("parts", "--keep_epochs=4", "--stop_after_epoch=3")
    assert list(run.kept_epochs()) == [0, 1, 2, 3]
    for epoch in (5, 6):  # left by a training that was killed after its last save
        run.kept_epoch(epoch).write_bytes(run.kept_epoch(2).read_bytes())
    assert main(["resume", str(run.folder), "--stop_after_epoch=null"]) == 0
    kept = run.kept_epochs()
    assert list(kept) == [0, 2, 4, 6]
    assert len({weights(path).norm() for path in kept.values()}) == 4

    plain = fit("plain")
    assert not plain.kept_epochs()
    assert weights(kept[6]).equal(weights(plain.last)), "keeping epochs does not change the training"
    assert load_checkpoint(kept[6]).keys().isdisjoint({"optimizer_states", "callbacks", "loops"})
    assert litnets.load(kept[2]).predict([[5.1, 3.5, 1.4, 0.2]]) in ("setosa", "versicolor", "virginica")


def test_weights_over_the_limit_are_not_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Path("run"))
    Path("run", "epochs").mkdir(parents=True)
    for epoch in range(7):
        run.kept_epoch(epoch).touch()
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=9, current_epoch=5)
    model: Any = nn.Linear(9, 5)  # 200 bytes
    for limit, expected, text in ((400, [0, 4], "keeps 2 epochs"), (300, [], "keeps no epochs")):
        monkeypatch.setattr(keep_epochs, "MAX_BYTES", limit)
        keep_epochs.KeepEpochs(run, 8).on_train_start(trainer, model)
        assert list(run.kept_epochs()) == expected
        assert f"keep_epochs: {text}, because one set of weights takes" in capsys.readouterr().out


def test_one_epoch_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--keep_epochs=1"]) == 2
    assert "keep_epochs" in capsys.readouterr().err
