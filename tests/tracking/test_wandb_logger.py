"""Weights & Biases runs, read back with the W&B client and compared with the run folder."""

import csv
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import Logger
from PIL import Image

import litnets.tracking.wandb_logger
from litnets.__main__ import main
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.tasks import Task
from litnets.tracking.wandb_logger import WandbRun, finish_wandb_on_exit, resolve_wandb_mode
from litnets.tracking.wandb_login import logged_in
from tests.conftest import CONFIGS
from tests.helpers.wandb_stub import service

DIGITS = str(CONFIGS / "digits_mlp.yaml")
SHORT = ["--trainer.max_epochs", "2", "--model.hidden_layer_sizes", "[16]"]
KEY = "a" * 40


class CrashInSecondEpoch(BoringModel):
    """A LightningModule that fails in its second epoch."""

    def on_validation_epoch_end(self) -> None:
        self.log("quality", float(self.current_epoch))

    def on_train_epoch_start(self) -> None:
        if self.current_epoch:
            raise RuntimeError("boom")


class FailingLogger(Logger):
    """A logger that fails at its fourth call."""

    name, version, calls = "failing", "0", 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Ignore hyperparameters."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls += 1
        if self.calls == 4:
            raise ConnectionError("gone")


@pytest.fixture(autouse=True)
def _logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log out of W&B, use an empty working directory, and make wandb read its settings again."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path.parent / "matplotlib"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield
    wandb.teardown()


def fit(*options: str) -> Path:
    """Train for two epochs and return the run folder."""
    assert main(["fit", "--config", DIGITS, *SHORT, *options]) == 0
    (run,) = Path("checkpoints/digits_mlp").iterdir()
    return run


def inspect(run: Path) -> dict[str, Any]:
    """Return the summary of a run's newest W&B file, read with the W&B client."""
    file = sorted(run.glob("wandb/*run-*/*.wandb"))[-1]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the records of a kind in all W&B files of a run, read with the W&B client."""
    return [record[kind] for file in sorted(run.glob("wandb/*run-*/*.wandb")) for record in _read(file, kind)]


@functools.cache
def _all(file: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def _read(file: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in _all(file.absolute()) if record["type"] == kind]


def metrics_by_step(rows: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """Return the metrics of W&B rows by trainer step, without W&B's internal values and those not in metrics.csv."""
    by_step: dict[int, dict[str, float]] = {}
    for row in rows:
        numbers = {n: v for n, v in row.items() if isinstance(v, int | float) and n[0] != "_" and "_table" not in n}
        step = numbers.pop("trainer/global_step", None)
        metrics = {n: v for n, v in numbers.items() if not n.startswith(("best/", "test/worst"))}
        if step is not None and metrics:
            by_step.setdefault(int(step), {}).update(metrics)
    return by_step


def in_csv(run: Path) -> dict[int, dict[str, float]]:
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(r["step"]): {n: float(v) for n, v in r.items() if v and n != "step"} for r in rows}


@pytest.mark.slow
def test_an_offline_run_matches_the_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(
        "--wandb.mode=offline",
        "--wandb.tags=[one,two]",
        "--wandb.group=some",
        "--wandb.notes=a try",
        "--wandb.log_model=true",
        "--wandb.gradients=true",
        "--trainer.log_every_n_steps=5",
    )
    out = capsys.readouterr().out
    assert f"litnets sync {run}\n" in out
    assert [p.name for p in Path().iterdir()] == ["checkpoints"], "something was written outside the run folder"
    assert list((tmp_path / "home").rglob("*")) == []
    assert "WANDB_DATA_DIR" not in os.environ

    shown = inspect(run)
    results = json.loads((run / "results.json").read_text())
    assert (shown["state"], shown["exit_code"], shown["project"]) == ("finished", 0, "litnets")
    assert (shown["tags"], shown["notes"]) == (["one", "two"], "a try")
    assert shown["name"] == f"digits_mlp/{run.name}"
    summary, best = shown["summary"], results["best"]
    assert summary["val/accuracy"]["max"] == summary["best/val/accuracy"] == best["score"]
    assert summary["best/epoch"] == best["epoch"]
    assert summary["val/loss"]["min"] == min(row["val/loss"] for row in in_csv(run).values() if "val/loss" in row)
    for name, value in results["test"].items():
        assert summary[f"test/{name}"] == value
    config = yaml.safe_load((run / "config.yaml").read_text())
    for part in ("trainer", "data", "model", "early_stopping"):
        assert shown["config"][part] == json.loads(json.dumps(config[part]))
    assert shown["config"]["environment"]["hardware"]["cores"] == os.cpu_count()
    assert set(shown["config"]["environment"]["git"]) == {"commit", "dirty"}

    rows = [row["item"] for row in records(run, "history")]
    gradients = [name for row in rows for name in row if name.startswith("gradients/") and name.endswith("._type")]
    assert len(gradients) >= 2 * 4
    plain = [{n: v for n, v in row.items() if not n.startswith("gradients/")} for row in rows]
    assert metrics_by_step(plain) == in_csv(run)
    assert any("lr" in row for row in rows)
    tables = {name.partition("_table")[0] for row in rows for name in row if name.endswith("._type")}
    assert {"test/confusion_matrix", "test/roc", "test/pr"} <= tables
    models = [a for a in records(run, "artifact") if a["type"] == "model"]
    assert [sorted(model["aliases"]) for model in models] == [["best", "latest"]]
    (entry,) = models[0]["manifest"]["contents"]
    assert (entry["path"], int(entry["size"])) == ("best.ckpt", (run / "best.ckpt").stat().st_size)


@pytest.mark.slow
def test_top_losses_are_logged_with_their_images() -> None:
    run = fit("--wandb.mode=offline")
    (table,) = run.glob("wandb/*run-*/files/media/table/test/worst*.json")
    content = json.loads(table.read_text())
    assert content["columns"] == ["sample", "target", "prediction", "loss", "inputs"]
    assert 0 < len(content["data"]) <= 32
    losses = [row[3] for row in content["data"]]
    assert losses == sorted(losses, reverse=True)
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    predicted = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    for sample, target, prediction, _, kind in content["data"]:
        assert predicted[sample]["prediction"] == prediction != target
        assert kind == "Image"
    (artifact,) = [a for a in records(run, "artifact") if "worst" in a["name"]]
    images = [e["local_path"] for e in artifact["manifest"]["contents"] if e["path"].startswith("media/images/")]
    assert len(images) == len(content["data"])
    for image in images:
        assert Image.open(BytesIO(Path(image).read_bytes())).size == (8, 8)


def start_wandb_run(folder: Path, mode: Any = "offline") -> WandbRun:
    folder.mkdir(parents=True, exist_ok=True)
    return WandbRun(Run(folder), mode, {"a": {"b": 1}}, {"x": "max"})


@pytest.mark.slow
def test_a_run_folder_has_one_wandb_run(tmp_path: Path) -> None:
    folder = tmp_path / "experiment" / "run"
    for attempt in range(3):
        logger = start_wandb_run(folder)
        for step in range(2):
            logger.log_metrics({"x": attempt}, 10 * attempt + step)
        finish_wandb_on_exit(lambda _: 0)([])
    other = start_wandb_run(tmp_path / "experiment" / "other")
    assert other.experiment.id != logger.experiment.id
    wandb.finish()
    assert {run["run_id"] for run in records(folder, "run")} == {logger.experiment.id}
    assert len(records(folder, "run")) == 3
    rows = [row["item"] for row in records(folder, "history")]
    assert [row["trainer/global_step"] for row in rows] == [0, 1, 10, 11, 20, 21]
    steps = [row["_step"] for row in rows]
    assert steps == sorted(set(steps)), "W&B drops rows whose step does not increase"


def test_an_online_run_matches_metrics_csv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows equal those of metrics.csv, and a resumed run continues the W&B run."""
    with service() as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        run = fit("--figures=false")  # figures would log artifacts, which the stub does not support
        assert f"W&B: {server.url}/me/litnets/runs/" in capsys.readouterr().out
        (name,) = set(server.runs)
        assert server.exit_codes == {name: 0}
        assert metrics_by_step(server.history[name]) == in_csv(run)
        assert server.config["trainer"]["value"]["max_epochs"] == 2
        last = server.history[name][-1]["_step"]
        logger = start_wandb_run(run, "online")
        logger.log_metrics({"x": 1}, 99)
        finish_wandb_on_exit(lambda _: 143)([])
        assert set(server.runs) == {name}
        assert server.history[name][-1]["trainer/global_step"] == 99
        assert server.history[name][-1]["_step"] > last
        assert server.exit_codes == {name: 143}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_resumed_run_continues_its_wandb_run(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows before the crash are not logged twice, later rows are logged, and the exit codes are correct."""
    original, last = Task.training_step, 1 + 17 + 5

    def step(self: Task, batch: Any, batch_idx: int) -> Any:
        if self.trainer.fit_loop.epoch_loop.total_batch_idx == last - 1:
            raise RuntimeError("crash")
        return original(self, batch, batch_idx)

    options = [f"--wandb.mode={mode}", "--figures=false", "--trainer.log_every_n_steps=2"]
    with service() as server:
        if mode == "online":
            monkeypatch.setenv("WANDB_API_KEY", KEY)
            monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with monkeypatch.context() as crashing:
            crashing.setattr(Task, "training_step", step)
            with pytest.raises(RuntimeError, match="crash"):
                main(["fit", "--config", DIGITS, *SHORT, *options])
        (run,) = Path("checkpoints/digits_mlp").iterdir()
        before = in_csv(run)
        codes = dict(server.exit_codes) if mode == "online" else {"": inspect(run)["exit_code"]}
        assert list(codes.values()) == [1]
        assert main(["resume", str(run)]) == 0
        if mode == "online":
            ((name, rows),) = server.history.items()
            assert server.exit_codes == {name: 0}
        else:
            rows = [row["item"] for row in records(run, "history")]
            assert len({record["run_id"] for record in records(run, "run")}) == 1
            assert inspect(run)["exit_code"] == 0
    assert metrics_by_step(rows) == in_csv(run)
    assert before.items() < in_csv(run).items()
    numbers = [row["trainer/global_step"] for row in rows if "train/loss_step" in row]
    assert numbers == sorted(set(numbers)), "a step was logged twice"


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["unreachable", "silent", "refusing"])
def test_an_unavailable_service_falls_back_to_offline(
    failure: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(litnets.tracking.wandb_logger, "_CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(litnets.tracking.wandb_logger, "_INIT_TIMEOUT", 10)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with service() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        server.refuse = True
        address = {"unreachable": "http://127.0.0.1:9", "silent": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        monkeypatch.setenv("WANDB_BASE_URL", address.get(failure, server.url))
        logger = start_wandb_run(tmp_path / "experiment" / "run", "online")
        logger.log_metrics({"x": 1}, 0)
        finish_wandb_on_exit(lambda _: 0)([])
    assert "; logging offline instead\n" in capsys.readouterr().out
    assert inspect(tmp_path / "experiment" / "run")["exit_code"] == 0
    assert list(tmp_path.glob("experiment/run/wandb/offline-run-*"))


def test_wandb_is_disabled_without_a_login(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("--test_after_fit=false")
    out = capsys.readouterr().out
    assert "W&B disabled: not logged in (run `wandb login`; silence this with --wandb.mode off)\n" in out
    assert out.count("W&B") == 1
    assert not (run / "wandb").exists()


@pytest.mark.slow
def test_mode_off_does_not_import_wandb() -> None:
    code = "import sys; from litnets.__main__ import main; code = main(sys.argv[1:]); sys.exit('wandb' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", "--config", DIGITS, *SHORT, "--test_after_fit=false"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr


def test_login_is_read_from_the_same_places_as_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = Path.home() / ".netrc"
    assert not logged_in()
    netrc.write_text(f"machine github.com login me password {KEY}\n")
    assert not logged_in()
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    netrc.chmod(0o600)
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert not logged_in()
    monkeypatch.delenv("WANDB_BASE_URL")
    settings = Path.home() / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://wandb.example.com\n")
    assert not logged_in()
    netrc.write_text(f"machine wandb.example.com login user password {KEY}\n")
    assert logged_in()
    netrc.write_text("machine [\n")
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert logged_in()


def test_resolve_wandb_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    mode, note = resolve_wandb_mode("auto", [])
    assert mode is None
    assert note == "W&B disabled: not logged in (run `wandb login`; silence this with --wandb.mode off)"
    assert resolve_wandb_mode("offline", []) == ("offline", None)
    with pytest.raises(InputError, match="wandb login"):
        resolve_wandb_mode("online", [])
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert resolve_wandb_mode("auto", []) == resolve_wandb_mode("online", []) == ("online", None)
    assert resolve_wandb_mode("off", []) == (None, None)
    for value, expected in (("offline", "offline"), ("disabled", None)):
        monkeypatch.setenv("WANDB_MODE", value)
        assert resolve_wandb_mode("auto", []) == (expected, None)
        assert resolve_wandb_mode("online", []) == ("online", None)


def test_an_error_is_not_preceded_by_a_line_about_wandb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", DIGITS, "--data.val_size", "5000"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "leave none for training" in output.err


def test_user_errors_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    for option, expected in {
        "--wandb.mode=online": "--wandb.mode online: not logged in",
        "--wandb.mode=offlin": "wandb.mode: no 'offlin'; did you mean 'offline'?",
        "--wandb.projekt=x": "no option 'wandb.projekt'; did you mean 'wandb.project'?",
    }.items():
        assert main(["fit", "--config", DIGITS, option]) == 2
        assert expected in capsys.readouterr().err
    assert not Path("checkpoints").exists()


@pytest.mark.slow
def test_a_wandb_logger_in_the_configuration() -> None:
    Path("more.yaml").write_text(
        "trainer: {logger: {class_path: WandbLogger, init_args: {project: mine, name: other}, dict_kwargs: {group: g}}}"
    )
    run = fit("--config", "more.yaml", "--wandb.tags=[t]", "--figures=false")
    shown = inspect(run)
    assert (shown["project"], shown["name"], shown["tags"]) == ("mine", "other", ["t"])
    assert records(run, "run")[0]["run_group"] == "g"
    assert metrics_by_step([row["item"] for row in records(run, "history")]) == in_csv(run)
    assert main(["test", "--config", str(run / "config.yaml")]) == 0  # testing later starts no new W&B run
    assert sorted(p.name for p in Path().iterdir()) == ["checkpoints", "more.yaml"]


@pytest.mark.parametrize(
    ("end", "code"), [(0, 0), (143, 143), (KeyboardInterrupt(), 130), (SystemExit(3), 3), (RuntimeError("boom"), 1)]
)
def test_the_exit_code_is_sent_to_wandb(end: Any, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exit_codes: list[int] = []

    class FakeWandb:
        run = object()

        @staticmethod
        def finish(exit_code: int) -> None:
            exit_codes.append(exit_code)
            raise ConnectionError("must not change the exit code")

    monkeypatch.setitem(sys.modules, "wandb", FakeWandb)

    @finish_wandb_on_exit
    def command(args: list[str]) -> int:
        if isinstance(end, BaseException):
            raise end
        return int(end)

    if isinstance(end, BaseException):
        with pytest.raises(type(end)):
            command([])
    else:
        assert command([]) == code
    assert exit_codes == [code]


def test_a_crash_is_recorded_as_failed() -> None:
    options = ["--trainer.max_epochs", "3", "--monitor", "quality", "--wandb.mode", "offline"]
    with pytest.raises(RuntimeError, match="boom"):
        main(["fit", "--model", "CrashInSecondEpoch", "--data", "BoringDataModule", *options])
    (run,) = Path("checkpoints/boringdatamodule_crashinsecondepoch").iterdir()
    shown = inspect(run)
    assert (shown["state"], shown["exit_code"]) == ("failed", 1)
    assert shown["summary"]["quality"] == {"min": 0, "last": 0}


def test_metrics_csv_is_complete_when_another_logger_fails() -> None:
    Path("more.yaml").write_text("trainer: {logger: [tests.tracking.test_wandb_logger.FailingLogger]}")
    with pytest.raises(ConnectionError):
        main(["fit", "--config", DIGITS, "--config", "more.yaml", *SHORT, "--trainer.log_every_n_steps=5"])
    (run,) = Path("checkpoints/digits_mlp").iterdir()
    # Two steps have one call each for the loss and the learning rates; the fourth call is in the file as well.
    assert {step: sorted(row) for step, row in in_csv(run).items()} == {
        step: ["epoch", "lr", "train/loss_step"] for step in (4, 9)
    }


@pytest.mark.slow
def test_a_damaged_run_id_file_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", str(CONFIGS / "digits_mlp.yaml"), "--wandb.mode", "offline", "--trainer.max_epochs"]
    assert main(["fit", *options, "1"]) == 0
    (run,) = Path("checkpoints/digits_mlp").iterdir()
    (run / "wandb" / "run.json").write_text("")
    capsys.readouterr()
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 2
    assert f"{run / 'wandb' / 'run.json'} is damaged" in capsys.readouterr().err


def test_the_sweep_runs_as_the_wandb_agent_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args  # takes seconds

    sweep = yaml.safe_load((CONFIGS / "sweeps" / "digits_mlp.yaml").read_text())
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["metric"] == {"name": "best/val/accuracy", "goal": "maximize"}
    parameters = {
        name: {"value": spec["values"][0] if "values" in spec else spec["min"]}
        for name, spec in sweep["parameters"].items()
    }
    values = {**create_sweep_command_args({"args": parameters}), "program": [sweep["program"]]}
    command = [
        word
        for part in create_sweep_command(sweep["command"])
        for word in (values[part[2:-1]] if part.startswith("${") else [part])
    ]
    assert command[:2] == ["litnets", "fit"]
    assert all(word.startswith("--") and "=" in word for word in command[-len(parameters) :])
    monkeypatch.setenv("WANDB_RUN_ID", "agent123")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    words = [str(CONFIGS / Path(word).name) if word.startswith("configs/") else word for word in command[1:]]
    assert main([*words, "--trainer.max_epochs=1", "--wandb.mode=offline"]) == 0
    (run,) = Path("checkpoints/digits_mlp").iterdir()
    shown = inspect(run)
    assert shown["run_id"] == json.loads((run / "wandb" / "run.json").read_text())["id"] == "agent123"
    assert shown["config"]["model"]["init_args"]["lr"] == sweep["parameters"]["model.lr"]["min"]
    assert shown["summary"][sweep["metric"]["name"]] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_exit_code_after_a_signal_is_recorded(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "litnets", "fit", "--config", DIGITS, "--trainer.max_epochs", "5000"]
    process = subprocess.Popen([*command, "--early_stopping.patience=9999", "--wandb.mode=offline"])
    while not list(Path("checkpoints").glob("*/*/metrics.csv")):
        assert process.poll() is None, "the process exited before training started"
        time.sleep(0.2)
    process.send_signal(number)
    code = process.wait(300)
    (run,) = Path("checkpoints/digits_mlp").iterdir()
    assert inspect(run)["exit_code"] == code


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_processes_are_one_wandb_run(strategy: str) -> None:
    command = [sys.executable, "-m", "litnets", "fit", "--config", DIGITS, *SHORT, "--wandb.mode=offline"]
    more = ["--trainer.devices=2", "--trainer.accelerator=cpu", f"--trainer.strategy={strategy}"]
    subprocess.run([*command, *more], check=True)
    assert [p.name for p in Path().iterdir()] == ["checkpoints"], "something was written outside the run folder"
    (run,) = Path("checkpoints/digits_mlp").iterdir()
    assert len(list(run.glob("wandb/*run-*/*.wandb"))) == 1
    assert inspect(run)["exit_code"] == 0
    assert metrics_by_step([row["item"] for row in records(run, "history")]) == in_csv(run)
    (matrix,) = [a["manifest"]["contents"] for a in records(run, "artifact") if "confusion_matrix" in a["name"]]
    table = json.loads(Path(matrix[0]["local_path"]).read_text())
    assert sum(row[2] for row in table["data"]) == 359, "each test sample must be counted once"
