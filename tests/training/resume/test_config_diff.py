"""Resuming runs: bit-exactly, with command-line overrides, and not at all if nothing is left to do."""

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from torch.utils.data import DataLoader, Dataset

from litnets.__main__ import main
from litnets.cli.run_argument import parse_run_argument
from litnets.training.resume.config_diff import diff_configs, stopped_early
from tests.conftest import CONFIGS, ROOT
from tests.helpers.interrupting import at
from tests.stress.interruptions import AROUND_UNFREEZING, BATCHES, CASES

MLP = ["--config", str(CONFIGS / "digits_mlp.yaml"), "--model.hidden_layer_sizes", "[8]"]


def fit(*options: str) -> Path:
    assert main(["fit", *MLP, *options]) == 0
    return max(Path("checkpoints").rglob("config.yaml"), key=lambda path: path.stat().st_mtime_ns).parent


def interruptions(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.stress.interruptions", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_interrupted_runs_equal_uninterrupted_ones(case: str) -> None:
    done = interruptions("--cases", case.replace(", ", "_"))
    assert done.returncode == 0, done.stdout + done.stderr
    stops = 4 * len(AROUND_UNFREEZING.get(case, BATCHES))
    assert f"{stops} interruptions, {stops} identical" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["seed", "order", "metrics", "optimizer"])
def test_interruption_matrix_detects_a_broken_mechanism(broken: str) -> None:
    done = interruptions("--every", "5", "--cases", "mlp_a save every 4 steps", "--broken", broken)
    assert done.returncode == 1
    assert "interruptions, 0 identical" in done.stdout


def test_command_line_overrides_the_checkpoint_and_changes_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("--trainer.max_epochs", "2", "--model.lr_scheduler", "null", "--model.lr", "0.01")
    assert main(["resume", str(run), "--trainer.max_epochs", "3", "--model.lr", "0.001"]) == 0
    out = capsys.readouterr().out
    assert "resuming at epoch 3, batch 1" in out
    assert "trainer.max_epochs: 2 -> 3" in out
    assert "model.init_args.lr: 0.01 -> 0.001" in out
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert {group["lr"] for group in last["optimizer_states"][0]["param_groups"]} == {0.001}
    assert last["epoch"] == 3
    attempts = json.loads((run / "environment.json").read_text())["attempts"]
    assert [attempt["config"] for attempt in attempts] == ["config.yaml", "config_2.yaml"]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 2
    assert yaml.safe_load((run / "config_2.yaml").read_text())["trainer"]["max_epochs"] == 3
    assert main(["resume", str(run)]) == 0
    assert "is finished: 3 of 3 epochs" in capsys.readouterr().out


@pytest.mark.slow
def test_an_extended_run_continues_the_longer_schedule() -> None:
    rates = {}
    for name, options in (("long", ("--trainer.max_epochs", "4")), ("extended", ("--trainer.max_epochs", "2"))):
        run = fit("--runs_dir", f"checkpoints/{name}", "--trainer.log_every_n_steps", "1", *options)
        if name == "extended":
            assert main(["resume", str(run), "--trainer.max_epochs", "4"]) == 0
        with (run / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["lr"]]
        rates[name] = {int(row["step"]): float(row["lr"]) for row in rows}
    later = [step for step in rates["long"] if step >= 34]
    assert len(later) == 34
    assert [rates["extended"][step] for step in later] == pytest.approx(
        [rates["long"][step] for step in later], rel=1e-6
    )


def test_a_checkpoint_without_callbacks_was_not_stopped_early() -> None:
    now = SimpleNamespace(patience=1, monitor="val/loss")
    assert stopped_early({}, {}, now) is None
    assert stopped_early({"callbacks": {"EarlyStopping{}": {"wait_count": 1, "stopped_epoch": 0}}}, {}, now) is None


def test_an_early_stopped_run_is_not_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    early = ["--model.lr", "1e-9", "--early_stopping.patience", "1", "--trainer.max_epochs", "6"]
    run = fit(*early, "--model.lr_scheduler", "null")
    before = (run / "metrics.csv").read_text()
    assert main(["resume", str(run)]) == 0
    assert "stopped early in epoch 2, after 1 check without a better val/accuracy" in capsys.readouterr().out
    assert (run / "metrics.csv").read_text() == before
    assert main(["resume", str(run), "--early_stopping.patience", "3"]) == 0
    assert json.loads((run / "results.json").read_text())["epochs"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "other"),
    [
        (["--early_stopping.stopping_threshold", "0.5"], ["--early_stopping.stopping_threshold", "2"]),
        (
            [
                "--early_stopping.patience",
                "1",
                "--early_stopping.min_delta",
                "0.9",
                "--trainer.val_check_interval",
                "0.3",
            ],
            ["--early_stopping.min_delta", "0"],
        ),
    ],
    ids=["stopping threshold", "within the first epoch"],
)
def test_a_run_stopped_for_any_reason_is_not_resumed(
    settings: list[str], other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit("--trainer.max_epochs", "20", *settings)
    epochs = json.loads((run / "results.json").read_text())["epochs"]
    assert epochs < 20
    before = (run / "metrics.csv").read_text()
    assert main(["resume", str(run)]) == 0
    assert f"stopped early in epoch {epochs}" in capsys.readouterr().out
    # If the test is missing, it is run, but training does not continue.
    (run / "results.json").unlink()
    assert main(["resume", str(run)]) == 0
    assert "test, best checkpoint" in capsys.readouterr().out
    last_step, step_before = (
        text.splitlines()[-1].split(",")[1] for text in ((run / "metrics.csv").read_text(), before)
    )
    assert last_step == step_before
    assert json.loads((run / "results.json").read_text())["epochs"] == epochs
    assert main(["resume", str(run), *other, "--trainer.max_epochs", str(epochs + 1)]) == 0
    assert json.loads((run / "results.json").read_text())["epochs"] == epochs + 1


@pytest.mark.parametrize(
    "limit",
    [
        ["--trainer.max_steps", "25"],
        [
            *("--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"),
            *("--trainer.callbacks.stopping_threshold", "100", "--trainer.callbacks.check_on_train_epoch_end", "false"),
            *("--trainer.val_check_interval", "25", "--trainer.check_val_every_n_epoch", "null"),
        ],
    ],
    ids=["max_steps", "early stopping"],
)
def test_an_epoch_that_was_ended_early_is_completed(limit: list[str]) -> None:
    """An epoch has 17 batches, so that the limit ends the second epoch after 8."""
    options = ["--trainer.max_epochs", "3", "--model.lr_scheduler", "null", "--early_stopping.patience", "100"]
    complete = fit("--runs_dir", "checkpoints/complete", *options)
    limited = fit("--runs_dir", "checkpoints/limited", *options, *limit)
    results = json.loads((limited / "results.json").read_text())
    assert results["steps"] == 25
    off = ["--trainer.max_steps", "-1", "--trainer.callbacks", "null", "--trainer.val_check_interval", "1.0"]
    assert main(["resume", str(limited), *off, "--trainer.check_val_every_n_epoch", "1"]) == 0
    last, expected = (torch.load(run / "last.ckpt", weights_only=True) for run in (limited, complete))
    assert last["global_step"] == expected["global_step"] == 51
    assert last["epoch"] == expected["epoch"] == 3
    for name, weight in expected["state_dict"].items():
        assert torch.equal(last["state_dict"][name], weight)
    rows = {}
    for run in (limited, complete):
        with (run / "metrics.csv").open() as file:
            rows[run] = [row for row in csv.DictReader(file) if row["step"] in ("33", "50")]
    assert [row["train/loss"] for row in rows[limited]] == [row["train/loss"] for row in rows[complete]]
    assert [row["val/loss"] for row in rows[limited]] == [row["val/loss"] for row in rows[complete]]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["OneCycleLR", "WarmupCosineLR"])
def test_a_schedule_continues_after_an_incomplete_epoch(schedule: str) -> None:
    """The schedule counts steps, not epochs: max_steps ended an epoch of 17 steps after 13."""
    options = ["--model.lr_scheduler", schedule, "--trainer.max_epochs", "-1", "--trainer.log_every_n_steps", "1"]
    rates = {}
    for name, steps in (("uninterrupted", "40"), ("extended", "30")):
        run = fit("--runs_dir", f"checkpoints/{name}", *options, "--trainer.max_steps", steps)
        if name == "extended":
            assert main(["resume", str(run), "--trainer.max_steps", "40"]) == 0
        with (run / "metrics.csv").open() as file:
            rates[name] = {int(row["step"]): row["lr"] for row in csv.DictReader(file) if row["lr"]}
    assert [rates["extended"][step] for step in range(30, 40)] == [
        rates["uninterrupted"][step] for step in range(30, 40)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("before", ["null", "0.002"])
def test_an_overridden_lr_applies_with_reduce_lr_on_plateau(before: str) -> None:
    plateau = ["--model.lr_scheduler", "ReduceLROnPlateau", "--model.lr_scheduler_args"]
    options = [*plateau, "{patience: 0, factor: 0.5, threshold: 100}", "--model.lr", before]
    run = fit("--trainer.max_epochs", "3", *options)
    group = torch.load(run / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"][0]
    assert group["lr"] == 0.25 * (0.001 if before == "null" else 0.002)
    assert main(["resume", str(run), "--trainer.max_epochs", "4", "--model.lr", "0.016"]) == 0
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == 0.125 * 0.016


def test_a_resumed_epoch_has_a_summary_line(capsys: pytest.CaptureFixture[str]) -> None:
    stop = at("on_train_batch_start", 25, signal.SIGTERM)  # in the second epoch; an epoch has 17 batches
    assert main(["fit", *MLP, "--trainer.max_epochs", "3", *stop]) == 143
    capsys.readouterr()
    assert main(["resume", "--trainer.callbacks", "null"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in lines] == ["epoch 2/3", "epoch 3/3"]


@pytest.mark.parametrize("name", ["results.json", "environment.json", "metrics.csv"])
def test_a_damaged_run_file_is_reported(name: str, digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (digits_run / name).write_bytes(b"\xff\xfe{")
    assert main(["resume", str(digits_run), "--trainer.max_epochs", "3"]) == 2
    assert f"{digits_run / name} is damaged" in capsys.readouterr().err


def test_selecting_the_run_to_resume(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = digits_run
    newest = Path(shutil.copytree(first, first.parent / "newest", copy_function=shutil.copyfile))
    for where in ([], ["digits_mlp"], ["checkpoints/digits_mlp"]):
        assert main(["resume", *where]) == 0
        assert f"{newest} is finished" in capsys.readouterr().out
    assert main(["resume", str(first)]) == 0
    assert f"{first} is finished" in capsys.readouterr().out
    assert main(["resume", "nowhere"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err
    Path("empty").mkdir()
    (Path("empty") / "config.yaml").write_text("trainer: {max_epochs: 1}")  # written by a user, not part of a run
    assert main(["resume", "empty"]) == 2
    assert "there is no run in empty" in capsys.readouterr().err
    for options in (["--config", str(first / "config.yaml")], [f"--config={first / 'config.yaml'}"]):
        assert main(["resume", *options]) == 2
        assert "resume: give the run's folder" in capsys.readouterr().err
    assert main(["resume", str(first), "--ckpt_path", str(first / "best.ckpt")]) == 2
    assert "resume continues from" in capsys.readouterr().err
    (first / "config_backup.yaml").write_text("{}")
    deep = Path(shutil.copytree(first, "checkpoints/paper/mlp/deep", copy_function=shutil.copyfile))
    for where in ([str(first)], []):
        assert main(["resume", *where]) == 0
        assert f"{first if where else deep} is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model.hidden_layer_sizes", "[9]"], r"net.layers.1.weight is \(8, 64\) in the checkpoint, \(9, 64\)"),
        (["--model.optimizer", "SGD"], "model.init_args.optimizer: cannot resume with SGD instead of AdamW"),
        (["--data.split_seed", "1"], "training samples would leak into validation or test"),
    ],
)
def test_an_incompatible_change_raises(
    change: list[str], message: str, digits_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in digits_run.iterdir() if path.is_file()}
    assert main(["resume", str(digits_run), "--trainer.max_epochs", "3", *change]) == 2
    error = capsys.readouterr().err
    assert message.replace("\\", "") in error
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in digits_run.iterdir() if path.is_file()} == before


@pytest.mark.slow
def test_init_from_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("--trainer.max_epochs", "1")
    best = str(run / "best.ckpt")
    frozen = ["--trainer.max_epochs", "1", "--model.lr", "1e-12", "--model.lr_scheduler", "null"]
    new = fit("--init_from", best, *frozen)
    assert new != run
    assert f"weights from {best}" in capsys.readouterr().out
    weights = [torch.load(folder / "best.ckpt", weights_only=True)["state_dict"] for folder in (run, new)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value)
    wider = ["--model.hidden_layer_sizes", "[8, 9]", "--init_from", best, "--trainer.max_epochs", "1"]
    assert main(["fit", *MLP, *wider]) == 2
    error = capsys.readouterr().err
    assert "does not fit MLPClassifier" in error
    assert "config.yaml` builds the network of that run" in error
    assert main(["fit", *MLP, *wider, "--init_partial", "true"]) == 0
    assert "; new: net.layers." in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_started_with_init_from_is_tested_and_resumed_as_usual(capsys: pytest.CaptureFixture[str]) -> None:
    best = str(fit("--trainer.max_epochs", "1") / "best.ckpt")
    run = fit("--init_from", best, "--trainer.max_epochs", "1", "--experiment", "tuned")
    capsys.readouterr()
    for command in ("test", "predict", "validate"):
        assert main([command, "--config", str(run / "config.yaml")]) == 0
    capsys.readouterr()
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "resuming at epoch 2, batch 1" in out
    assert "weights from" not in out
    for command in (["resume", str(run)], ["test", "--config", str(run / "config.yaml")]):
        assert main([*command, "--init_from", "another.ckpt"]) == 2
        assert "--init_from starts a new run" in capsys.readouterr().err


class CustomModule(BoringModel):
    """A user's LightningModule that returns lists of optimizers and schedulers and logs under other metric names."""

    def __init__(self, learning_rate: float = 0.125) -> None:
        super().__init__()
        self.learning_rate = learning_rate

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        outputs = super().training_step(batch, batch_idx)
        self.log("train_loss", outputs["loss"], on_step=False, on_epoch=True)
        return outputs

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.learning_rate)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


def test_a_custom_module_resumes_with_command_line_overrides() -> None:
    options = ["--monitor", "train_loss", "--trainer.max_epochs"]
    assert main(["fit", "--model", "CustomModule", "--data", "BoringDataModule", *options, "2"]) == 0
    (run,) = Path("checkpoints/boringdatamodule_custommodule").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert results["best"]["monitor"] == "train_loss"
    assert main(["resume", str(run), "--model.learning_rate", "0.5", "--trainer.max_epochs", "3"]) == 0
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert last["epoch"] == 3
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == 0.5 * 0.5**3


class ModuleWithConflictingAttribute(CustomModule):
    """A module with an attribute that has the name of a method of `Task`."""

    def __init__(self) -> None:
        super().__init__()
        self.update_train_metrics = 0


def test_a_custom_module_may_have_attributes_of_any_name() -> None:
    assert (
        main(
            [
                "fit",
                "--model",
                "ModuleWithConflictingAttribute",
                "--data",
                "BoringDataModule",
                "--monitor",
                "train_loss",
                "--trainer.max_epochs",
                "1",
            ]
        )
        == 0
    )


def test_a_resumed_run_is_evaluated_with_its_newest_configuration(
    digits_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(digits_run), "--trainer.max_epochs", "3"]) == 0
    assert f"litnets predict {digits_run} NEW_FILE\n" in capsys.readouterr().out
    assert parse_run_argument([str(digits_run)]).selection == ["--config", str(digits_run / "config_2.yaml")]


class NoisyData(Dataset[torch.Tensor]):
    """Samples with random noise that is added each time they are read."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((32,), index / 64) + torch.randn(32) + random.random()


class NoisyDataModule(BoringDataModule):
    """A user's DataModule that shuffles with torch's sampler and has no `start_at`."""

    def __init__(self, workers: int = 0) -> None:
        super().__init__()
        self.workers = workers

    def train_dataloader(self) -> DataLoader[torch.Tensor]:
        return DataLoader(NoisyData(), batch_size=8, shuffle=True, num_workers=self.workers)


@pytest.mark.parametrize("fast_loop", ["true", "false"])
@pytest.mark.parametrize(
    ("workers", "batches"),  # an epoch has 8 batches: within the first, at the start of the third, within it
    [
        ("0", [4, 21]),
        pytest.param("0", [17], marks=pytest.mark.slow),
        pytest.param("2", [4, 17, 21], marks=pytest.mark.slow),
    ],
)
def test_a_custom_datamodule_resumes_bit_exactly(workers: str, batches: list[int], fast_loop: str) -> None:
    options = [
        "--model",
        "CustomModule",
        "--data",
        "NoisyDataModule",
        "--data.workers",
        workers,
        "--monitor",
        "train_loss",
    ]
    options += ["--trainer.max_epochs", "4", "--fast_loop", fast_loop]
    assert main(["fit", *options, "--experiment", "uninterrupted"]) == 0
    for batch in batches:
        stop = at("on_train_batch_start", batch, signal.SIGTERM)
        assert main(["fit", *options, "--experiment", f"stopped at {batch}", *stop]) == 143
        assert main(["resume", f"checkpoints/stopped at {batch}", "--trainer.callbacks", "null"]) == 0
        uninterrupted, stopped = (
            torch.load(next(Path("checkpoints", name).glob("*/last.ckpt")), weights_only=True)["state_dict"]
            for name in ("uninterrupted", f"stopped at {batch}")
        )
        for name, value in uninterrupted.items():
            assert torch.equal(value, stopped[name]), f"stopped at {batch}"


class TwoOptimizers(BoringModel):
    """A user's LightningModule with two optimizers, each with a scheduler."""

    def __init__(self, rates: tuple[float, float] = (0.5, 0.25), name: str = "a") -> None:
        super().__init__()
        self.automatic_optimization = False
        self.rates, self.name = rates, name

    def training_step(self, batch: Any, batch_idx: int) -> None:
        loss = super().training_step(batch, batch_idx)["loss"]
        self.manual_backward(loss)
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.step()
            optimizer.zero_grad()

    def on_train_epoch_end(self) -> None:
        for schedule in self.lr_schedulers():  # type: ignore[union-attr]
            schedule.step()

    def on_validation_epoch_end(self) -> None:
        self.log("quality", 1.0)

    def configure_optimizers(self) -> Any:
        parts = ([self.layer.weight], [self.layer.bias])
        optimizers = [torch.optim.SGD(part, lr=rate) for part, rate in zip(parts, self.rates, strict=True)]
        return optimizers, [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5) for optimizer in optimizers]


def test_two_optimizers_resume_with_command_line_overrides() -> None:
    options = ["--monitor", "quality", "--trainer.max_epochs"]
    assert main(["fit", "--model", "TwoOptimizers", "--data", "BoringDataModule", *options, "1"]) == 0
    (run,) = Path("checkpoints/boringdatamodule_twooptimizers").iterdir()
    for epochs, overrides in enumerate((["--model.name", "b"], ["--model.rates", "[0.125, 0.0625]"]), 2):
        assert main(["resume", str(run), *overrides, "--trainer.max_epochs", str(epochs)]) == 0
        last = torch.load(run / "last.ckpt", weights_only=True)
        rates = (0.5, 0.25) if epochs == 2 else (0.125, 0.0625)
        lrs = [state["param_groups"][0]["lr"] for state in last["optimizer_states"]]
        assert lrs == [rate * 0.5**epochs for rate in rates]


def test_stale_test_results_are_removed_after_a_resume(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = digits_run / "results.json"
    assert json.loads(results.read_text())["test"]["accuracy"] > 0
    assert main(["resume", str(digits_run), "--trainer.max_epochs", "3", "--test_after_fit", "false"]) == 0
    assert not {"test", "test_per_class"} & set(json.loads(results.read_text()))
    capsys.readouterr()
    assert main(["resume", str(digits_run), "--trainer.max_epochs", "3", "--test_after_fit", "true"]) == 0
    assert "test, best checkpoint" in capsys.readouterr().out
    assert json.loads(results.read_text())["test"]["accuracy"] > 0


def test_the_star_marks_the_best_epoch_across_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("--trainer.max_epochs", "2", "--model.lr_scheduler", "null")
    capsys.readouterr()
    # A learning rate this large destroys the weights, so the third epoch cannot be the best.
    assert main(["resume", str(run), "--trainer.max_epochs", "3", "--model.lr", "100"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 3/3")]
    assert not line.endswith("*")


def test_resume_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["resume", "--help"])
    assert exit_info.value.code == 0
    assert "--trainer.max_epochs" in capsys.readouterr().out


def test_diff_configs_ignores_new_options_at_their_defaults() -> None:
    old = {"model": {"class_path": "litnets.RNNForecaster", "init_args": {"hidden_size": 3}}}
    arguments = {"hidden_size": 3, "conv_widths": [], "patch_length": 1, "lr": None}
    new = {"model": {"class_path": "litnets.RNNForecaster", "init_args": arguments}}
    assert diff_configs(old, new) == {}
    arguments["patch_length"] = 4
    assert diff_configs(old, new) == {"model.init_args.patch_length": (1, 4)}
    new["model"]["class_path"] = "litnets.CNNForecaster"  # options of another class may mean something else
    assert "model.init_args.conv_widths" in diff_configs(old, new)


def callbacks(class_path: str, **init_args: Any) -> dict[str, Any]:
    return {"trainer": {"callbacks": [{"class_path": "litnets.Lookahead"}, {"class_path": class_path, **init_args}]}}


def test_another_path_of_the_same_class_is_no_difference() -> None:
    new = callbacks("litnets.EMA", init_args={"decay": 0.9, "every_n_steps": 1})
    for old_path in ("litnets.EMA", "litnets.callbacks.EMA", "litnets.callbacks.ema.EMA"):
        # Version 0.1 might have had an EMA without `every_n_steps`.
        assert diff_configs(callbacks(old_path, init_args={"decay": 0.9}), new) == {}
    assert diff_configs(callbacks("litnets.RandomFlip"), callbacks("litnets.RandomFlip", init_args={})) == {}
    assert list(diff_configs(callbacks("litnets.EMA", init_args={"decay": 0.8}), new)) == ["trainer.callbacks"]


@pytest.mark.parametrize(
    "other",
    ["litnets.Lookahead", "litnets.training.EMA", "elsewhere.EMA", "litnets.callbacks", "EMA", "", ".EMA", 3, None],
)
def test_another_class_is_a_difference(other: Any) -> None:
    assert list(diff_configs(callbacks(other), callbacks("litnets.EMA"))) == ["trainer.callbacks"]


def test_comparing_paths_imports_nothing_that_a_checkpoint_names() -> None:
    Path("EMA.py").write_text("raise AssertionError")
    assert diff_configs({"class_path": "EMA.EMA"}, {"class_path": "litnets.EMA"})
    assert "EMA" not in sys.modules


def test_a_run_whose_classes_have_another_path_now_resumes_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("--trainer.max_epochs", "1", "--trainer.callbacks", "EMA", "--data.augment", "[RandomShift]")
    for path in (run / "last.ckpt", run / "best.ckpt"):
        content = torch.load(path, weights_only=True)
        state = content["training_state"]
        assert "litnets.EMA" in state["config"]
        state["config"] = (
            state["config"].replace("litnets.EMA", "litnets.callbacks.EMA")
            .replace("litnets.RandomShift", "litnets.data.RandomShift")
        )  # fmt: skip
        torch.save(content, path)
    capsys.readouterr()
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "trainer.max_epochs: 1 -> 2" in out
    assert "class_path" not in out
    assert "EMA" not in out
