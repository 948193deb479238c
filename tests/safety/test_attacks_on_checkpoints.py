"""Checkpoints and configurations that try to run code. Each attack would create the file `pwned` if it worked.

`BY_NAME` names the check that stops each attack. `test_without_its_check_...` removes that check and asserts that the
attack succeeds, so no attack fails for another reason, such as a typo in the test.
"""

import io
import shutil
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn
from torchmetrics import Metric

import litnets.tasks
from litnets.__main__ import main
from litnets.data import Digits
from litnets.errors import InputError
from litnets.safety import plain, resolving
from litnets.tasks import Classifier, MLPClassifier, RNNForecaster, Task
from tests.conftest import isolate

PWNED = Path("pwned")
HERE = __name__


def touch(*args: Any, **kwargs: Any) -> None:
    if Path("trap.py").exists():  # not while pytest collects the tests, for which it looks into this module
        PWNED.touch()


def touch_on_lookup(name: str) -> Any:
    if name in ("Loss", "anything"):  # inspect and pytest ask for other names
        touch()
    raise AttributeError(name)


class Touching:
    """A class that no hyperparameter may name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        touch()


class TouchingMetric(Metric):
    """A metric. It is an nn.Module, and some metrics download weights."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        touch()

    def update(self) -> None: ...

    def compute(self) -> None: ...


class TouchingLightningModule(LightningModule):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        touch()


class TouchingTask(Classifier):
    """A task that is imported but not the one to load."""

    def __init__(self, **kwargs: Any) -> None:
        touch()
        raise InputError("touched")


class LibraryLoss(nn.Module):
    """A stand-in for library classes that download weights or read files when they are constructed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        touch()


LibraryLoss.__module__ = "torchmetrics.functional.image.lpips"


class TouchingType(type):
    def __getattr__(cls, name: str) -> Any:
        touch_on_lookup(name)

    @property
    def Loss(cls) -> Any:  # noqa: N802
        touch()
        return nn.MSELoss


class WithProperties(metaclass=TouchingType):
    pass


class Focal(nn.Module):
    """A user's loss."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return ((1 - (-losses).exp()) ** self.gamma * losses).mean()


@pytest.fixture(autouse=True)
def traps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Create modules for the attacks.

    `trap` creates `pwned` when it is imported, and `lazy_trap`, which is imported, when an attribute is read. `mine` is
    a user's module that has not been imported.
    """
    Path("trap.py").write_text("from pathlib import Path\nPath('pwned').touch()\nclass Loss: pass\n")
    Path("mine.py").write_text(f"from {HERE} import Focal\nimport torch\nclass MySGD(torch.optim.SGD): pass\n")
    Path("package").mkdir()
    Path("package/__init__.py").touch()
    Path("package/trap.py").write_text(Path("trap.py").read_text())
    monkeypatch.syspath_prepend(".")
    lazy = types.ModuleType("lazy_trap")
    lazy.__getattr__ = touch_on_lookup  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_trap", lazy)
    package = types.ModuleType("package")
    package.__path__ = ["package"]
    monkeypatch.setitem(sys.modules, "package", package)
    yield
    for name in ("trap", "mine", "package.trap"):
        sys.modules.pop(name, None)


SHELL = {"args": "touch pwned", "shell": True}

# Hyperparameters and the check that refuses them.
BY_NAME: dict[str, tuple[dict[str, Any], str]] = {
    "loss is subprocess.run": ({"loss": "subprocess.run", "loss_args": SHELL}, "kind"),
    "loss is subprocess.Popen": ({"loss": "subprocess.Popen", "loss_args": SHELL}, "none"),
    "loss is os.mknod": ({"loss": "os.mknod", "loss_args": {"path": "pwned"}}, "kind"),
    "loss is io.FileIO": ({"loss": "io.FileIO", "loss_args": {"file": "pwned", "mode": "w"}}, "kind"),
    "loss is a function": ({"loss": f"{HERE}.touch"}, "kind"),
    "loss is another class": ({"loss": f"{HERE}.Touching"}, "kind"),
    "loss is a metric": ({"loss": f"{HERE}.TouchingMetric"}, "kind"),
    "loss is a LightningModule": ({"loss": f"{HERE}.TouchingLightningModule"}, "kind"),
    "loss is a method": ({"loss": "pathlib.Path.touch", "loss_args": {"self": "pwned"}}, "kind"),
    "loss is reached through another module": ({"loss": f"{HERE}.sys.modules"}, "none"),
    "optimizer is a function": ({"optimizer": f"{HERE}.touch"}, "kind"),
    "optimizer is another class": ({"optimizer": f"{HERE}.Touching"}, "kind"),
    "optimizer is logging.FileHandler": ({"optimizer": "logging.FileHandler"}, "none"),
    "optimizer is a loss": ({"optimizer": f"{HERE}.TouchingMetric"}, "kind"),
    "schedule is a function": ({"lr_scheduler": f"{HERE}.touch"}, "kind"),
    "schedule is another class": ({"lr_scheduler": f"{HERE}.Touching"}, "kind"),
    "loss imports a module": ({"loss": "trap.Loss"}, "import"),
    "loss imports a submodule": ({"loss": "package.trap.Loss"}, "import"),
    "optimizer imports a module": ({"optimizer": "trap.Loss"}, "import"),
    "schedule imports a module": ({"lr_scheduler": "trap.Loss"}, "import"),
    "loss looks into a lazy module": ({"loss": "lazy_trap.Loss"}, "lookup"),
    "optimizer looks into a lazy module": ({"optimizer": "lazy_trap.Loss"}, "lookup"),
    "loss calls a metaclass": ({"loss": f"{HERE}.WithProperties.anything"}, "lookup"),
    "loss reads a property of a class": ({"loss": f"{HERE}.WithProperties.Loss"}, "lookup"),
    "loss reads a property of an instance": ({"loss": f"{HERE}.instance.Loss"}, "none"),
    "loss is of a library": ({"loss": f"{HERE}.LibraryLoss"}, "library"),
    "_class_path imports a module": ({"_class_path": "trap.Loss"}, "import"),
    "_class_path is another class": ({"_class_path": f"{HERE}.TouchingLightningModule"}, "kind"),
    "_class_path is another task": ({"_class_path": f"{HERE}.TouchingTask"}, "kind"),
}


class Call:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@cache
def small_network() -> MLPClassifier:
    return MLPClassifier(input_shape=(3,), num_classes=2, hidden_layer_sizes=[4])


def write(path: str = "evil.ckpt", **hyperparameters: Any) -> str:
    """Write the checkpoint of a small network with modified hyperparameters."""
    model = small_network()
    content = {"state_dict": model.state_dict(), "hyper_parameters": {**model.hparams, **hyperparameters}}
    torch.save(content | {"pytorch-lightning_version": lightning.__version__}, path)
    return path


def assert_refused(load: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as error:
        load()
    assert not PWNED.exists()
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 700
    return str(error.value)


@pytest.mark.parametrize("attack", BY_NAME)
def test_no_name_in_a_checkpoint_runs_code(attack: str) -> None:
    hyperparameters, _ = BY_NAME[attack]
    path = write(**hyperparameters)
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(path))
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(path, weights_only=True))


def remove_check(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if check == "kind":
        monkeypatch.setattr(resolving, "_check_kind", lambda *args: None)
    elif check == "import":
        monkeypatch.setattr(
            resolving, "_find_for_checkpoint", lambda argument, name, source: resolving.import_object(name)
        )
    elif check == "lookup":
        monkeypatch.setattr(resolving.inspect, "getattr_static", getattr)
    elif check == "library":
        monkeypatch.setattr(resolving, "_check_allowed", lambda *args: None)


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("attack", [attack for attack, (_, check) in BY_NAME.items() if check != "none"])
def test_without_its_check_the_name_runs_code(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hyperparameters, check = BY_NAME[attack]
    path = write(**hyperparameters)
    remove_check(check, monkeypatch)
    with suppress(Exception):  # the object is not a loss, so building the task may fail after the attack
        MLPClassifier.load_from_checkpoint(path)
    assert PWNED.exists()


def test_lightnings_instantiator_is_not_called() -> None:
    """Only `Task.load_from_checkpoint` stops this attack, because it does not call the `_instantiator`."""
    path = write(
        _instantiator="lightning.pytorch.cli.instantiate_module",
        optimizer_args={"lr": {"class_path": f"{HERE}.Touching"}},
    )
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(path))
    with suppress(Exception):
        LightningModule.load_from_checkpoint.__func__(MLPClassifier, path)
    assert PWNED.exists()


@pytest.mark.parametrize("task", [getattr(litnets.tasks, name) for name in litnets.tasks.__all__])
def test_every_task_uses_the_safe_load_from_checkpoint(task: type[Task]) -> None:
    assert task.load_from_checkpoint.__func__ is Task.load_from_checkpoint.__func__  # type: ignore[attr-defined]


@pytest.mark.parametrize("as_file", [False, True])
def test_pickled_code_is_not_executed(as_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(class_names=Call(Path.touch, PWNED))

    def load(**kwargs: Any) -> Any:
        return MLPClassifier.load_from_checkpoint(io.BytesIO(Path(path).read_bytes()) if as_file else path, **kwargs)

    assert "not a checkpoint that loads safely" in assert_refused(load)
    assert "weights_only=False would" in assert_refused(lambda: load(weights_only=False))
    unsafe_load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: unsafe_load(*args, **kwargs | {"weights_only": False}))
    with suppress(Exception):
        load()
    assert PWNED.exists()


@pytest.mark.parametrize(
    "value",
    [
        torch._utils._rebuild_tensor_v2,  # a function that torch.load with weights_only=True allows
        [[torch.nn.Parameter]],
        {"a": (1, {2: torch.Tensor})},
    ],
)
def test_hyperparameters_must_be_plain_values(value: Any) -> None:
    message = assert_refused(lambda: MLPClassifier.load_from_checkpoint(write(loss_args={"weight": value})))
    assert "expected numbers, strings, and lists and dicts of them, got the" in message


def bomb() -> Any:
    """A small nested list that would expand to 10^16 elements."""
    value: Any = ["x"] * 10
    for _ in range(15):
        value = [value] * 10
    return value


def chain(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def ring() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [bomb(), chain(200), ring(), {"a": bomb()}, ["x" * 10**6] * 10**4])
def test_exponential_deep_and_recursive_values_are_refused(value: Any) -> None:
    assert_refused(lambda: plain.check_plain("value", value))
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(write(class_names=value)))


# User-defined modules


def assert_trained_with_focal(model: MLPClassifier) -> None:
    assert type(model.criterion) is Focal
    assert model.criterion.gamma == 3


def write_with_custom_loss(**kwargs: Any) -> str:
    return write(loss="mine.Focal", loss_args={"gamma": 3}, **kwargs)


def test_trusted_modules_are_imported() -> None:
    path = write_with_custom_loss()
    message = assert_refused(lambda: MLPClassifier.load_from_checkpoint(path))
    assert "loss: the checkpoint evil.ckpt names the class mine.Focal" in message
    assert 'trust=["mine"]' in message
    assert "mine" not in sys.modules
    for trust in (["other"], ["min"], ["mine.Focal.x"], "mi"):
        assert_refused(lambda trust=trust: MLPClassifier.load_from_checkpoint(path, trust=trust))  # type: ignore[misc]
    assert_trained_with_focal(MLPClassifier.load_from_checkpoint(path, trust=["mine"]))
    assert_trained_with_focal(MLPClassifier.load_from_checkpoint(path, trust="mine"))


def test_imported_modules_may_be_named() -> None:
    path = write_with_custom_loss(optimizer="mine.MySGD", lr=0.1)
    __import__("mine")
    model = MLPClassifier.load_from_checkpoint(path)
    assert_trained_with_focal(model)
    assert type(model.optimization.build_optimizer(model.named_parameters())).__name__ == "MySGD"


def test_arguments_of_the_caller_need_no_trust() -> None:
    assert_trained_with_focal(MLPClassifier.load_from_checkpoint(write(), loss="mine.Focal", loss_args={"gamma": 3}))


def test_a_function_in_a_trusted_module_is_not_a_loss() -> None:
    Path("mine.py").write_text("import subprocess\n")
    path = write(loss="mine.subprocess.run", loss_args=SHELL)
    assert "is a function" in assert_refused(lambda: MLPClassifier.load_from_checkpoint(path, trust=["mine"]))


def test_trust_applies_to_one_load_only() -> None:
    Path("other.py").write_text(Path("mine.py").read_text())
    MLPClassifier.load_from_checkpoint(write_with_custom_loss(), trust=["mine"])
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(write(loss="other.Focal")))
    assert_trained_with_focal(
        MLPClassifier(input_shape=(3,), num_classes=2, loss="other.Focal", loss_args={"gamma": 3})
    )
    del sys.modules["other"]


@pytest.mark.parametrize(
    "names",
    [
        {"loss": "torch.nn.CrossEntropyLoss"},
        {"loss": "torch.nn.modules.loss.MultiMarginLoss"},
        {"optimizer": "torch.optim.sgd.SGD", "lr": 0.1},
        {"optimizer": "litnets.tasks.optimization.SGDW", "lr": 0.1, "lr_scheduler": "torch.optim.swa_utils.SWALR"},
        {"lr_scheduler": "litnets.tasks.optimization.WarmupCosineLR", "lr_scheduler_args": {"total_steps": 10}},
    ],
)
def test_classes_of_torch_and_litnets_may_be_named(names: dict[str, Any]) -> None:
    if "swa" in names.get("lr_scheduler", ""):
        names = names | {"lr_scheduler_args": {"swa_lr": 0.1}}
    path = write(**names)
    assert MLPClassifier.load_from_checkpoint(path).hparams["hidden_layer_sizes"] == [4]


def test_a_checkpoint_of_lightning_cli_is_loaded() -> None:
    path = write(
        _instantiator="lightning.pytorch.cli.instantiate_module",
        _class_path=f"{MLPClassifier.__module__}.MLPClassifier",
    )
    assert type(Classifier.load_from_checkpoint(path)) is MLPClassifier


class FixedSize(MLPClassifier):
    def __init__(self, num_classes: int) -> None:
        super().__init__(input_shape=(3,), num_classes=num_classes, hidden_layer_sizes=[4])


def test_a_subclass_with_fewer_arguments_is_loaded() -> None:
    model = FixedSize(2)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, "fixed.ckpt")
    loaded = FixedSize.load_from_checkpoint("fixed.ckpt")
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())


def test_hparams_file_overrides_the_checkpoint() -> None:
    Path("hparams.yaml").write_text("{input_shape: [3], num_classes: 2, hidden_layer_sizes: [4], lr: 0.5}")
    assert MLPClassifier.load_from_checkpoint(write(lr=0.1), hparams_file="hparams.yaml").hparams["lr"] == 0.5
    Path("hparams.yaml").write_text("{input_shape: [3], num_classes: 2, loss: trap.Loss}")
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(write(), hparams_file="hparams.yaml"))


def test_load_from_checkpoint_on_an_instance_raises() -> None:
    model = MLPClassifier(input_shape=(3,), num_classes=2)
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        model.load_from_checkpoint(write())


def test_a_checkpoint_of_another_task_is_refused() -> None:
    assert "does not fit RNNForecaster" in assert_refused(lambda: RNNForecaster.load_from_checkpoint(write()))


# The command line

FAST = [
    "--trainer.accelerator", "cpu", "--trainer.limit_train_batches", "2",
    "--trainer.limit_val_batches", "1", "--test_after_fit", "false", "--trainer.max_epochs", "1",
]  # fmt: skip
DIGITS = ["--model", "MLPClassifier", "--data", "Digits", "--model.hidden_layer_sizes", "[8]"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with EMA, Lookahead and a schedule, to be copied."""
    folder = tmp_path_factory.mktemp("runs")
    callbacks = ["--trainer.callbacks+", "EMA", "--trainer.callbacks+", "Lookahead"]
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        assert main(["fit", *DIGITS, *FAST, *callbacks, "--model.lr_scheduler", "OneCycleLR"]) == 0
    return next(folder.glob("checkpoints/*/*"))


@pytest.fixture
def run(trained: Path) -> Path:
    return Path(shutil.copytree(trained, "checkpoints/digits/run"))


Change = Callable[[dict[str, Any]], Any]


def change_checkpoint(path: Path, change: Change) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def command_fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that has to fail in one or two lines; return them."""
    capsys.readouterr()
    assert main(list(args)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) in (1, 2), lines
    assert not PWNED.exists()
    return "\n".join(lines)


def set_in(*keys: Any) -> Change:
    """Return a change that sets a value: the last of `keys`, at the path of those before."""

    def change(content: dict[str, Any]) -> None:
        *path, last, value = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


ALL = ("test", "validate", "predict", "init_from", "resume")
EARLY_STOPPING = "EarlyStopping{'monitor': 'val/loss', 'mode': 'min'}"

TAMPERED: dict[str, tuple[Change, tuple[str, ...]]] = {
    "state_dict is a list": (set_in("state_dict", [1, 2]), ALL),
    "a weight is a text": (set_in("state_dict", "net.layers.1.weight", "x"), ALL),
    "a weight has no values": (set_in("state_dict", "net.layers.1.weight", torch.empty(8, 64, device="meta")), ALL),
    "hyper_parameters is a list": (set_in("hyper_parameters", [1]), ALL),
    "hyper_parameters hold a function": (set_in("hyper_parameters", "lr", torch._utils._rebuild_tensor_v2), ALL),
    "hyper_parameters is a bomb": (set_in("hyper_parameters", "class_names", bomb()), ALL),
    "something is a bomb": (set_in("anything", bomb()), ALL),
    "callbacks is a text": (set_in("callbacks", "x"), ALL),
    "a callback's state is a list": (set_in("callbacks", EARLY_STOPPING, [1]), ALL),
    "a callback's number is a text": (set_in("callbacks", EARLY_STOPPING, "wait_count", "x"), ALL),
    "a callback's best loss is a text": (set_in("callbacks", EARLY_STOPPING, "best_loss", "x"), ("resume",)),
    "the best loss is a list": (set_in("callbacks", "Checkpoint", "best_loss", [1]), ("resume",)),
    "epoch is a text": (set_in("epoch", "1"), ALL),
    "global_step is too large": (set_in("global_step", 10**30), ALL),
    "the position is a list": (set_in("training_state", [1, 2]), ALL),
    "the position's batch is a text": (set_in("training_state", "batch", "1"), ALL),
    "the position's config is a number": (set_in("training_state", "config", 1), ALL),
    "the position's metrics are texts": (set_in("training_state", "callback_metrics", {"a": "b"}), ALL),
    "the data's state is a list": (set_in("Digits", [1]), ("test", "validate", "predict", "resume")),
    "the data's mean is a text": (set_in("Digits", "mean", ["x"]), ("test", "validate", "resume")),
    "loops is a text": (set_in("loops", "x"), ("test", "resume")),
    "loops is missing": (lambda content: content.pop("loops"), ("resume",)),
    "a loop's counter is a text": (
        set_in("loops", "fit_loop", "epoch_progress", "current", "completed", "x"), ("resume",),
    ),
    "optimizer_states is a text": (set_in("optimizer_states", "x"), ("resume",)),
    "optimizer_states is empty": (set_in("optimizer_states", []), ("resume",)),
    "an optimizer's state is a list": (set_in("optimizer_states", 0, [1]), ("resume",)),
    "an optimizer's momentum is a text": (set_in("optimizer_states", 0, "state", 0, "exp_avg", "x"), ("resume",)),
    "an optimizer's groups are a number": (set_in("optimizer_states", 0, "param_groups", 3), ("resume",)),
    "an optimizer's rate is a text": (set_in("optimizer_states", 0, "param_groups", 0, "lr", "x"), ("resume",)),
    "lr_schedulers is a number": (set_in("lr_schedulers", 3), ("resume",)),
    "a schedule's counter is a text": (set_in("lr_schedulers", 0, "last_epoch", "x"), ("resume unchanged",)),
    "EMA's weights are a list": (set_in("current_model_state", [1]), ("resume",)),
    "Lookahead's weights are texts": (set_in("callbacks", "Lookahead", "slow", ["x"]), ("resume",)),
    "the metrics' state is a list": (set_in("training_state", "ranks", [{"metrics": [1]}]), ("resume",)),
    "the rows of metrics.csv are a text": (set_in("training_state", "csv", {"rows": "x"}), ("resume",)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("attack", TAMPERED)
def test_tampered_checkpoints_are_refused_in_a_line(attack: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, commands = TAMPERED[attack]
    for path in run.glob("*.ckpt"):
        change_checkpoint(path, change)
    config, best = ["--config", str(run / "config.yaml")], str(run / "best.ckpt")
    for command in commands:
        if command == "resume":
            command_fails(capsys, "resume", str(run), "--trainer.max_epochs", "3")
        elif command == "resume unchanged":  # for the test that is still due
            command_fails(capsys, "resume", str(run), "--test_after_fit", "true")
        elif command == "init_from":
            command_fails(capsys, "fit", *DIGITS, *FAST, "--init_from", best)
        else:
            command_fails(capsys, command, *config, *FAST[:2])


def test_the_run_itself_is_resumed(run: Path) -> None:
    """What the attacks above have in common does not keep a run from being resumed."""
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert torch.load(run / "last.ckpt", weights_only=True)["training_state"]["epoch"] == 2


# Configurations

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 15)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 15))
BOMBS = {"aliases": ALIASES, "merges": MERGES, "nested": "a: " + "[" * 50_000 + "]" * 50_000, "ring": "a: &a [*a]"}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_of_aliases_ends_at_once(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bomb.yaml").write_text(text)
    start = time.process_time()
    assert "config: not valid YAML" in command_fails(capsys, "fit", *DIGITS, "--config", "bomb.yaml")
    Path("inner.yaml").write_text("trainer:\n  max_epochs: |\n    " + text.replace("\n", "\n    "))
    command_fails(capsys, "fit", *DIGITS, "--config", "inner.yaml")
    with pytest.raises(InputError, match="not valid YAML"):
        plain.load_yaml("config", text)
    assert time.process_time() - start < 30


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_in_a_checkpoint_ends_at_once(text: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in run.glob("*.ckpt"):
        change_checkpoint(path, set_in("training_state", "config", text))
    assert "not valid YAML" in command_fails(capsys, "resume", str(run), "--trainer.max_epochs", "3")


def test_ordinary_aliases_work() -> None:
    text = "base: &base {lr: 1, sizes: &sizes [1, 2]}\nother: {<<: *base, sizes: *sizes}"
    assert plain.load_yaml("config", text)["other"] == {"lr": 1, "sizes": [1, 2]}


CALLBACK = "[{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: {on_fit_start: %s}}]"
POPEN = "{class_path: subprocess.Popen, init_args: {args: touch pwned, shell: true}}"

# Options, as a configuration or the command line may hold them: nothing is called before its kind is checked.
OPTIONS = {
    "loss is a function": {"model.loss": "subprocess.run", "model.loss_args": str(SHELL)},
    "loss is a class of another kind": {"model.loss": f"{HERE}.Touching"},
    "optimizer is a function": {"model.optimizer": f"{HERE}.touch"},
    "schedule is a class of another kind": {"model.lr_scheduler": f"{HERE}.Touching"},
    "loss_args hold a class": {"model.loss_args": f"{{weight: {POPEN}}}"},
    "optimizer_args hold a class": {"model.optimizer_args": f"{{lr: [{POPEN}]}}"},
    "lr_scheduler_args are a class": {"model.lr_scheduler": "StepLR", "model.lr_scheduler_args": POPEN},
    "a callback is a function": {"trainer.callbacks": f"[{{class_path: {HERE}.touch}}]"},
    "a callback is a class of another kind": {"trainer.callbacks": f"[{POPEN}]"},
    "a logger is a class of another kind": {"trainer.logger": f"[{POPEN}]"},
    "an augmentation is a class of another kind": {"data.augment": f"[{POPEN}]"},
    "the model is a function": {"model": f"{HERE}.touch"},
    "the model is a class of another kind": {"model": "subprocess.Popen"},
    "the data are a function": {"data": f"{HERE}.touch"},
    "a number is a class": {"trainer.max_epochs": POPEN},
}


@pytest.mark.parametrize("attack", OPTIONS)
def test_options_of_another_kind_are_not_called(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [part for name, value in OPTIONS[attack].items() for part in (f"--{name}", value)]
    command_fails(capsys, "fit", *DIGITS, *FAST, *options)


@pytest.mark.parametrize("value", [f"{HERE}.touch", "os.getcwd", POPEN])
@pytest.mark.parametrize("command", ["resume", "test"])
def test_a_run_folder_names_no_functions(
    command: str, value: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    if value == POPEN:  # in an argument of any type
        loggers = [{"class_path": f"{HERE}.AnyLogger", "init_args": {"anything": yaml.safe_load(POPEN)}}]
        config["trainer"]["logger"] = loggers
    else:
        config["trainer"]["callbacks"] += yaml.safe_load(CALLBACK % value)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    args = ["resume", str(run), "--trainer.max_epochs", "2"]
    if command == "test":
        args = ["test", "--config", str(run / "config.yaml")]
    message = command_fails(capsys, *args)
    assert "which would be called" in message
    if value == f"{HERE}.touch":
        assert main([*args, "--trainer.callbacks", CALLBACK % value]) == 0
        assert PWNED.exists() == (command == "resume")  # on_fit_start


@pytest.mark.parametrize("value", [f"{HERE}.touch", f"{{class_path: {HERE}.Touching}}"])
def test_without_its_check_a_run_folder_calls_functions(value: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litnets.cli.app.check_run_config", lambda *args: None)
    config = yaml.safe_load((run / "config.yaml").read_text())
    if "Touching" in value:
        loggers = [{"class_path": f"{HERE}.AnyLogger", "init_args": {"anything": yaml.safe_load(value)}}]
        config["trainer"]["logger"] = loggers
    else:
        config["trainer"]["callbacks"] += yaml.safe_load(CALLBACK % value)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert PWNED.exists()


def test_without_its_check_arguments_of_a_loss_are_constructed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litnets.cli.app.check_plain_arguments", lambda options: None)
    assert main(["fit", *DIGITS, *FAST, "--model.loss_args", f"{{weight: {{class_path: {HERE}.Touching}}}}"]) == 2
    assert PWNED.exists()


class AnyLogger(DummyLogger):
    def __init__(self, anything: Any = None) -> None:
        super().__init__()


def test_functions_in_a_users_configuration_are_called() -> None:
    Path("user.yaml").write_text(f"trainer: {{callbacks: {CALLBACK % (HERE + '.touch')}}}")
    assert main(["fit", *DIGITS, *FAST, "--config", "user.yaml"]) == 0
    assert PWNED.exists()


def test_a_users_loss_and_optimizer_are_trained_tested_and_resumed() -> None:
    names = ["--model.loss", "mine.Focal", "--model.loss_args", "{gamma: 3}", "--model.optimizer", "mine.MySGD"]
    assert main(["fit", *DIGITS, *FAST, *names, "--model.lr", "0.1"]) == 0
    run = next(Path("checkpoints").glob("*/*"))
    sys.modules.pop("mine")
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert type(MLPClassifier.load_from_checkpoint(run / "best.ckpt", trust=["mine"]).criterion) is Focal


class AnyNames(MLPClassifier):
    """A user's model that does not say what its arguments are."""

    def __init__(self, input_shape, num_classes, class_names=None) -> None:  # type: ignore[no-untyped-def]
        super().__init__(input_shape=input_shape, num_classes=num_classes, class_names=class_names)


TEXT = f"{{class_path: {HERE}.Touching}}"


def run_of_any_names() -> tuple[Path, list[str]]:
    """Train `AnyNames`; return the run folder and the command that predicts with it."""
    rows = "".join(f"{i % 7},{i % 3},{'ab'[i % 2]}\n" for i in range(60))
    Path("table.csv").write_text("x,y,class\n" + rows)
    table = ["--data", "TableCSV", "--data.path", "table.csv", "--data.target", "class"]
    assert main(["fit", "--model", f"{HERE}.AnyNames", *table, *FAST]) == 0
    run = next(Path("checkpoints").glob("*/*"))
    return run, ["predict", "--config", str(run / "config.yaml"), "--data.predict_path", "table.csv"]


@pytest.mark.parametrize("value", [{"class_path": f"{HERE}.Touching"}, [{"class_path": f"{HERE}.Touching"}, "b"]])
def test_linked_values_of_a_checkpoint_are_not_constructed(
    value: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, predict = run_of_any_names()
    change_checkpoint(run / "best.ckpt", set_in("hyper_parameters", "class_names", value))
    assert "names a class" in command_fails(capsys, *predict)
    monkeypatch.setattr("litnets.cli.links.check_linked_value", lambda *args: None)
    with suppress(Exception):
        main(predict)
    assert PWNED.exists()


def test_linked_texts_of_a_checkpoint_are_texts() -> None:
    run, predict = run_of_any_names()
    change_checkpoint(run / "best.ckpt", set_in("hyper_parameters", "class_names", [TEXT, "null"]))
    assert main(predict) == 0
    assert not PWNED.exists()
    assert "probability_null" in (run / "predictions.csv").read_text()


def test_data_of_a_checkpoint_import_nothing() -> None:
    """As for tasks: Lightning would let the checkpoint construct any class that the arguments allow."""
    path = write()
    builder = {"_instantiator": "lightning.pytorch.cli.instantiate_module", "augment": [{"class_path": "trap.X"}]}
    change_checkpoint(Path(path), set_in("datamodule_hyper_parameters", builder))
    Digits.load_from_checkpoint(path)
    assert not PWNED.exists()
    with suppress(Exception):
        LightningDataModule.load_from_checkpoint.__func__(Digits, path)
    assert PWNED.exists()


def test_data_of_a_checkpoint_are_loaded(run: Path) -> None:
    data = Digits.load_from_checkpoint(run / "best.ckpt", batch_size=7)
    saved = torch.load(run / "best.ckpt", weights_only=True)["Digits"]
    assert (data.batch_size, data.mean, data.std) == (7, saved["mean"], saved["std"])
