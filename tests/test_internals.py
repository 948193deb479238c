"""Private names of other packages are used only in litnets.internals, and still behave as it expects."""

import ast
import inspect
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, RichProgressBar
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torchmetrics import MeanMetric

from litnets import internals
from tests.conftest import ROOT

SOURCE = ROOT / "src" / "litnets"
SOURCES = [path for path in sorted(SOURCE.rglob("*.py")) if path.name != "internals.py"]
# Names of the standard library, most of them documented.
PUBLIC = {("os", "_exit"), ("pickle", "_Unpickler"), ("", "_replace"), ("", "_asdict"), ("", "_fields")}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


# litdata is an optional extra that only data/images/stream_format.py imports.
OPTIONAL = "litdata"


@cache
def own_names() -> set[str]:
    """Private names that this package defines itself: functions, classes, attributes of self, variables."""
    names = set()
    for path in SOURCES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                names.add(node.attr)
    return names


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def private_names(path: Path) -> Iterator[str]:
    """Yield the uses of private names of other packages in a file."""
    own = own_names()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_self(node.value):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            is_allowed = PUBLIC & {(owner, node.attr), ("", node.attr)} or owner.startswith(OPTIONAL)
            if node.attr not in own and not is_allowed:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("litnets"):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from (f"line {node.lineno}: import of {part}" for part in parts if is_private(part))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)) and not is_self(node.args[0]):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def test_private_names_of_other_packages_are_only_in_internals() -> None:
    uses = [f"{path.relative_to(ROOT)}, {use}" for path in SOURCES for use in private_names(path)]
    assert not uses, f"{'; '.join(uses)}: put it behind a function in litnets/internals.py"


@cache
def defined_by(cls: type) -> set[str]:
    """Return the private methods and attributes that a class of another package defines."""
    try:
        tree = ast.parse(inspect.cleandoc(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # a class written in C
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return {name for name in names if is_private(name)}


def test_no_class_uses_private_names_of_a_third_party_base_class() -> None:
    classes = [(path, node) for path in SOURCES for node in parse(path).body if isinstance(node, ast.ClassDef)]
    for path, node in classes:
        used = {
            part.attr
            for part in ast.walk(node)
            if isinstance(part, ast.Attribute) and is_private(part.attr) and is_self(part.value)
        }
        used |= {part.name for part in node.body if isinstance(part, ast.FunctionDef) and is_private(part.name)}
        name = ".".join(["litnets", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
        cls = getattr(import_module(name), node.name)
        for base in cls.__mro__:
            if base.__module__.partition(".")[0] not in ("litnets", "builtins", "abc", "typing", OPTIONAL):
                clash = used & defined_by(base)
                assert not clash, f"{name}.{node.name} uses {clash} of {base.__qualname__}: see litnets/internals.py"


def test_private_names_finds_violations(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import os\nfrom lightning.pytorch.loops.fetchers import _DataFetcher\n"
        "trainer._logger_connector.on_batch_end()\ngetattr(trainer, '_results')\nos._exit(1)\nself._mine = 1\n"
    )
    assert sorted(use.partition(":")[0] for use in private_names(file)) == ["line 2", "line 3", "line 4"]


# The functions of litnets.internals


def removed(name: str, package: str = "lightning") -> str:
    """Return the message of a test that fails because a release has removed or changed a private name."""
    return f"{package} {version(package)} no longer has {name}: update litnets/internals.py"


class Probe(Callback):
    """Record the state of the Trainer during training."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.last: list[bool] = []
        self.hooks: list[str] = []
        self.content: dict[str, Any] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        self.steps.append(internals.logging_step(loop))
        self.last.append(internals.is_last_batch_ready(loop))
        with internals.CurrentHook(pl_module, "validation_step"):
            pl_module.log("as_validation", 1.0)  # logged at the end of the epoch, as in `validation_step`
        self.content = internals.dump_checkpoint(trainer)


def fit(*callbacks: Callback, model: LightningModule | None = None, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=3,
        limit_val_batches=1,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **quiet | options,
    )
    trainer.fit(model or BoringModel(), BoringDataModule())
    return trainer


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
class TestTrainer:
    def test_epoch_loop_and_its_fetcher(self) -> None:
        probe = Probe()
        trainer = fit(probe)
        loop = trainer.fit_loop.epoch_loop
        assert type(loop) is internals.TrainingEpochLoop, removed("_TrainingEpochLoop")
        assert issubclass(internals.PrefetchDataFetcher, internals.DataFetcher), removed("_PrefetchDataFetcher")
        assert probe.steps == [0, 1, 2], removed("_TrainingEpochLoop._batches_that_stepped")
        assert probe.last == [False, False, True], removed("_TrainingEpochLoop._num_ready_batches_reached")
        assert internals.skips_next_validation(loop) is False, removed("_TrainingEpochLoop._skip_next_val")
        internals.set_logging_step(loop, 7)
        assert internals.logging_step(loop) == 7

    def test_progress_bar_and_learning_rate_monitor(self) -> None:
        class Bar(internals.EpochDescription, RichProgressBar):
            def describe_epoch(self, epoch: int) -> str:
                described.append(super().describe_epoch(epoch).strip())
                return described[-1]

        class Monitor(internals.LearningRateColumns, LearningRateMonitor):
            def columns(self, trainer: Trainer, interval: str) -> dict[str, float]:
                logged.append(super().columns(trainer, interval))
                return logged[-1]

        described: list[str] = []
        logged: list[dict[str, float]] = []
        logger = CSVLogger("logs")
        fit(Bar(), Monitor(), enable_progress_bar=True, logger=logger, log_every_n_steps=1)
        assert set(described) == {"Epoch 0/0"}, removed("RichProgressBar._get_train_description")
        assert {"lr-SGD": 0.1} in logged, removed("LearningRateMonitor._extract_stats")

    def test_early_stopping_check(self) -> None:
        class CountChecks(internals.EarlyStoppingCheck, EarlyStopping):
            checks = 0

            def check(self, trainer: Trainer) -> None:
                self.checks += 1
                super().check(trainer)

        callback = CountChecks("as_validation", patience=100)
        fit(Probe(), callback)
        assert callback.checks == 1, removed("EarlyStopping._run_early_stopping_check")
        assert callback.best_score == 1

    def test_rank(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert internals.is_rank_zero(), "the only process has another rank than 0"
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        assert not internals.is_rank_zero()

    def test_current_hook(self) -> None:
        trainer = fit(Probe())
        assert trainer.callback_metrics["as_validation"] == 1, removed("LightningModule._current_fx_name")

    def test_checkpoint_content(self) -> None:
        probe = Probe()
        fit(probe)
        assert {"state_dict", "optimizer_states", "loops"} <= probe.content.keys(), removed("dump_checkpoint")

    def test_logger_connector(self) -> None:
        connector = internals.logger_connector(Trainer(accelerator="cpu", logger=False))
        for name in ("on_batch_start", "on_batch_end", "update_train_step_metrics"):
            assert hasattr(connector, name), removed(f"_LoggerConnector.{name}")

    def test_transfer_hook(self) -> None:
        class TransferHooks(BoringDataModule):
            def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                return batch

        hooks: dict[str, Any] = {}

        class RecordHooks(Callback):
            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                for name in ("on_after_batch_transfer", "transfer_batch_to_device"):
                    hooks[name] = internals.transfer_hook(trainer, name)

        trainer = Trainer(accelerator="cpu", fast_dev_run=True, callbacks=[RecordHooks()], enable_model_summary=False)
        trainer.fit(BoringModel(), TransferHooks())
        message = removed("_DataHookSelector")
        assert isinstance(hooks["on_after_batch_transfer"].__self__, LightningDataModule), message
        assert isinstance(hooks["transfer_batch_to_device"].__self__, LightningModule), message

    @pytest.mark.parametrize(("interval", "expected"), [("00:00:01:00", True), (1.0, False)])
    def test_validation_by_time(self, interval: Any, expected: bool) -> None:
        trainer = fit(val_check_interval=interval)
        assert internals.validates_by_the_clock(trainer) is expected, removed("Trainer._val_check_time_interval")

    def test_request_stop(self) -> None:
        class RequestStop(Callback):
            def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
                internals.request_stop(trainer)

        probe = Probe()
        with pytest.raises(SIGTERMException):
            fit(probe, RequestStop())
        assert probe.steps == [0], removed("_SignalConnector.received_sigterm")

    @pytest.mark.parametrize("precision", [Precision(), MixedPrecision("bf16-mixed", "cpu")])
    def test_clip_gradients(self, precision: Precision) -> None:
        class RecordClipping(BoringModel):
            def configure_gradient_clipping(
                self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
            ) -> None:
                clipped.append((gradient_clip_val, gradient_clip_algorithm))

        clipped: list[Any] = []
        module = RecordClipping()
        module.trainer = Trainer(accelerator="cpu", logger=False)
        module.trainer.strategy.connect(module)
        internals.clip_gradients(precision, module, torch.optim.SGD(module.parameters(), 0.1), 0.5, "norm")
        assert clipped == [(0.5, "norm")], removed("Precision._clip_gradients")

    def test_optimizers_and_schedulers(self) -> None:
        module = BoringModel()
        trainer = Trainer(accelerator="cpu", logger=False)
        trainer.strategy.connect(module)
        module.trainer = trainer
        (optimizer,), (config,) = internals.init_optimizers_and_lr_schedulers(module)
        assert isinstance(optimizer, torch.optim.SGD), removed("_init_optimizers_and_lr_schedulers")
        assert isinstance(config.scheduler, torch.optim.lr_scheduler.StepLR)


def test_parser_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["litnets"])  # LightningCLI warns about arguments from two sources

    class Command(LightningCLI):
        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {"fit": LightningCLI.subcommands()["fit"]}

        def before_instantiate_classes(self) -> None:
            raise Parsed(internals.subcommand_parser(self, "fit").get_defaults())

    class Parsed(Exception):  # noqa: N818
        pass

    with pytest.raises(Parsed) as parsed_options:
        Command(BoringModel, BoringDataModule, args=["fit"])
    assert "trainer" in parsed_options.value.args[0], removed("LightningCLI._parser")


def test_restoring_passes_through_the_connector(tmp_path: Path) -> None:
    calls = []

    class Connector(internals.CheckpointConnector):
        @contextmanager
        def restoring(self, path: Any) -> Iterator[None]:
            calls.append(("restoring", path))
            yield
            calls.append(("restored", path))

        def check_training_state(self) -> None:
            calls.append(("check", self.content["epoch"]))

    model, path = BoringModel(), tmp_path / "model.ckpt"
    quiet: dict[str, Any] = {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "limit_train_batches": 1, "limit_val_batches": 0,
    }  # fmt: skip
    trainer = Trainer(max_epochs=1, **quiet)
    trainer.fit(model)
    trainer.save_checkpoint(path)
    trainer = Trainer(max_epochs=2, **quiet)
    internals.set_checkpoint_connector(trainer, Connector(trainer))
    trainer.fit(model, ckpt_path=path, weights_only=True)
    first, last = ("restoring", path), ("restored", path)
    assert calls == [first, last, first, ("check", 1), last]
    assert trainer.current_epoch == 2


def test_yaml_of_jsonargparse_is_loaded_with_another_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    class Upper(yaml.SafeLoader):
        def get_single_data(self) -> Any:
            return str(super().get_single_data()).upper()

    loader = internals._loaders_dumpers.get_yaml_default_loader()
    monkeypatch.setattr(internals._loaders_dumpers, "yaml_default_loader", loader)
    internals.set_yaml_loader(Upper)
    assert internals._loaders_dumpers.yaml_load("a: b") == "{'A': 'B'}"


def test_jsonargparse_looks_for_yaml_in_values_of_the_command_line_only() -> None:
    internals.keep_strings()
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--name", type=str | None)
    parser.add_argument("--anything", type=Any)
    given = parser.parse_args(["--name", "null", "--anything", "{a: '1', b: 1}"])
    assert (given.name, given.anything) == (None, {"a": "1", "b": 1})
    given = parser.parse_object({"name": "null", "anything": "1"})
    assert (given.name, given.anything) == ("null", "1")
    assert type(parser.parse_args(["--name", "[a]"]).name) is str


def test_wandb_run_of_a_logger(tmp_path: Path) -> None:
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    assert not internals.has_wandb_run(logger)
    run = object()
    internals.set_wandb_run(logger, run)
    assert internals.has_wandb_run(logger)
    assert logger.experiment is run, removed("WandbLogger._experiment")


def test_conversion_calls_the_hook() -> None:
    class Counts(internals.ConversionHook):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.conversions = nn.Linear(2, 2), 0

        def on_convert(self, convert: Any) -> None:
            convert()
            self.conversions += 1

    module = Counts()
    for number, convert in enumerate((module.double, module.half, lambda: module.to(torch.bfloat16)), 1):
        assert convert() is module
        assert module.conversions == number, removed("Module._apply", "torch")
    assert module.layer.weight.dtype == torch.bfloat16


def test_ddp_is_told_to_find_unused_parameters() -> None:
    strategy = DDPStrategy()
    internals.find_unused_parameters(strategy)
    assert strategy._ddp_kwargs == {"find_unused_parameters": True}
    internals.find_unused_parameters(SingleDeviceStrategy())  # no effect


def test_restricted_class_method_is_not_called_on_an_instance() -> None:
    class Model:
        @internals.restricted_classmethod
        def load(cls) -> type:  # noqa: N805
            return cls

    assert Model.load() is Model
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        Model().load()


def test_disable_amp_scaling_of_a_fused_optimizer() -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(1))], fused=True)
    assert optimizer._step_supports_amp_scaling, removed("Optimizer._step_supports_amp_scaling", "torch")
    internals.disable_amp_scaling_in_step(optimizer)
    assert not optimizer._step_supports_amp_scaling


def test_update_count_of_a_metric() -> None:
    metric = MeanMetric()
    internals.set_update_count(metric, 3)
    assert metric.update_count == 3, removed("Metric._update_count", "torchmetrics")


def test_importing_networks_does_not_import_lightning() -> None:
    code = "import sys, litnets.nets, litnets.errors, litnets.seeding; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_id_of_a_trial_is_that_of_its_storage() -> None:
    optuna = pytest.importorskip("optuna")
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage).ask()
    study = optuna.create_study(storage=storage)
    study.ask()
    (trial,) = study.get_trials()
    assert (trial.number, internals.trial_id(trial)) == (0, 1), removed("FrozenTrial._trial_id", "optuna")


def test_recurrent_layers_as_nodes() -> None:
    """torch.export neither unrolls recurrent layers nor fixes the number of steps. Afterwards torch is as before."""
    loops = internals._patches.lstm_while_loop_impl, internals._patches.gru_while_loop_impl
    steps = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    for layer in (nn.RNN(2, 3, batch_first=True), nn.GRU(2, 3, batch_first=True), nn.LSTM(2, 3, batch_first=True)):
        with warnings.catch_warnings(), internals.recurrent_layers_as_nodes(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(layer, (torch.zeros(2, 4, 2),), dynamic_shapes=(steps,))
        operators = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        assert sum(name in ("aten.rnn_tanh.input", "aten.gru.input", "aten.lstm.input") for name in operators) == 1
        x = torch.randn(3, 7, 2)
        torch.testing.assert_close(program.module()(x)[0], layer(x)[0])
    assert (internals._patches.lstm_while_loop_impl, internals._patches.gru_while_loop_impl) == loops
