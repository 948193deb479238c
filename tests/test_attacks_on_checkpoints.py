"""Checkpoints and configurations that try to run code. Each attack would create the file `pwned` if it worked.

The tables of attacks name the check that stops each of them, and `test_without_its_check_...` removes that check and
sees the attack succeed: none of them fails for another reason, such as a typing error in the attack.
"""

import io
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torchmetrics import Metric

import litnets.tasks
from litnets import plain, resolving
from litnets.errors import InputError
from litnets.tasks import Classifier, MLPClassifier, RNNForecaster, Task

PWNED = Path("pwned")
HERE = __name__


def touch(*args: Any, **kwargs: Any) -> None:
    PWNED.touch()


def look_into(name: str) -> Any:
    if not name.startswith("__"):  # inspect asks each module for its __file__
        touch()
    raise AttributeError(name)


class Touching:
    """A class of no kind that is expected anywhere."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        touch()


class TouchingMetric(Metric):
    """An nn.Module, as some metrics are that download weights."""

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
    """A task that somebody imported for another purpose."""

    def __init__(self, **kwargs: Any) -> None:
        touch()
        raise InputError("touched")


class LibraryLoss(nn.Module):
    """Stands for the classes of libraries that download weights or read files when they are constructed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        touch()


LibraryLoss.__module__ = "torchmetrics.functional.image.lpips"


class TouchingType(type):
    def __getattr__(cls, name: str) -> Any:
        look_into(name)

    @property
    def Loss(cls) -> Any:  # noqa: N802
        touch()
        return nn.MSELoss


class WithProperties(metaclass=TouchingType):
    pass


class Instance:
    @property
    def Loss(self) -> Any:  # noqa: N802
        touch()
        return nn.MSELoss

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        touch()
        return type


instance = Instance()


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
    """Modules that create `pwned`: `trap` when it is imported, `lazy_trap`, which is imported, when it is looked into;
    and `mine`, a module of the user that has not been imported."""
    Path("trap.py").write_text("from pathlib import Path\nPath('pwned').touch()\nclass Loss: pass\n")
    Path("mine.py").write_text(f"from {HERE} import Focal\nimport torch\nclass MySGD(torch.optim.SGD): pass\n")
    Path("package").mkdir()
    Path("package/__init__.py").touch()
    Path("package/trap.py").write_text(Path("trap.py").read_text())
    monkeypatch.syspath_prepend(".")
    lazy = types.ModuleType("lazy_trap")
    lazy.__getattr__ = look_into  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_trap", lazy)
    package = types.ModuleType("package")
    package.__path__ = ["package"]
    monkeypatch.setitem(sys.modules, "package", package)
    yield
    for name in ("trap", "mine", "package.trap"):
        sys.modules.pop(name, None)


SHELL = {"args": "touch pwned", "shell": True}

# Hyperparameters, and the check that refuses them.
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
    "loss is of a library": ({"loss": f"{HERE}.LibraryLoss"}, "library"),
    "_class_path imports a module": ({"_class_path": "trap.Loss"}, "import"),
    "_class_path is another class": ({"_class_path": f"{HERE}.TouchingLightningModule"}, "kind"),
    "_class_path is another task": ({"_class_path": f"{HERE}.TouchingTask"}, "kind"),
}


# As torch pickles an object that calls a function when it is unpickled.
class Call:
    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def write(path: str = "evil.ckpt", **hyperparameters: Any) -> str:
    """Write the checkpoint of a small network whose hyperparameters have been changed."""
    model = MLPClassifier(input_shape=(3,), num_classes=2, hidden_layer_sizes=[4])
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
    with suppress(Exception):  # whatever the training part makes of what is no loss
        MLPClassifier.load_from_checkpoint(path)
    assert PWNED.exists()


def test_lightning_itself_builds_what_a_checkpoint_names() -> None:
    """The attack that only `Task.load_from_checkpoint` refuses, as it does not call the `_instantiator`."""
    path = write(
        _instantiator="lightning.pytorch.cli.instantiate_module",
        optimizer_args={"lr": {"class_path": f"{HERE}.Touching"}},
    )
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(path))
    with suppress(Exception):
        LightningModule.load_from_checkpoint.__func__(MLPClassifier, path)
    assert PWNED.exists()


@pytest.mark.parametrize("task", [getattr(litnets.tasks, name) for name in litnets.tasks.__all__])
def test_every_task_loads_in_the_same_way(task: type[Task]) -> None:
    assert task.load_from_checkpoint.__func__ is Task.load_from_checkpoint.__func__  # type: ignore[attr-defined]


@pytest.mark.parametrize("as_file", [False, True])
def test_pickled_code_is_not_run(as_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(class_names=Call(Path.touch, PWNED))

    def load(**kwargs: Any) -> Any:
        return MLPClassifier.load_from_checkpoint(io.BytesIO(Path(path).read_bytes()) if as_file else path, **kwargs)

    assert "not a checkpoint that loads safely" in assert_refused(load)
    assert "weights_only=False would" in assert_refused(lambda: load(weights_only=False))
    load_anything = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: load_anything(*args, **kwargs | {"weights_only": False}))
    with suppress(Exception):
        load()
    assert PWNED.exists()


@pytest.mark.parametrize(
    "value",
    [
        torch._utils._rebuild_tensor_v2,  # a function that torch's safe loading lets through
        [[torch.nn.Parameter]],
        {"a": (1, {2: torch.Tensor})},
    ],
)
def test_hyperparameters_are_plain_values(value: Any) -> None:
    message = assert_refused(lambda: MLPClassifier.load_from_checkpoint(write(loss_args={"weight": value})))
    assert "expected numbers, texts, and lists and dicts of them, got the" in message


def bomb() -> Any:
    """A hundred bytes that are ten thousand million million elements, if each is counted."""
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
def test_values_that_could_not_be_printed_are_refused_at_once(value: Any) -> None:
    assert_refused(lambda: plain.check_plain("value", value))
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(write(class_names=value)))


# What a user's own modules need


def assert_trained_with_focal(model: MLPClassifier) -> None:
    assert type(model.criterion) is Focal
    assert model.criterion.gamma == 3


def own(**kwargs: Any) -> str:
    return write(loss="mine.Focal", loss_args={"gamma": 3}, **kwargs)


def test_modules_that_the_caller_trusts_are_imported() -> None:
    path = own()
    message = assert_refused(lambda: MLPClassifier.load_from_checkpoint(path))
    assert "loss: the checkpoint evil.ckpt names the class mine.Focal" in message
    assert 'trust=["mine"]' in message
    assert "mine" not in sys.modules
    for trust in (["other"], ["min"], ["mine.Focal.x"], "mi"):
        assert_refused(lambda trust=trust: MLPClassifier.load_from_checkpoint(path, trust=trust))  # type: ignore[misc]
    assert_trained_with_focal(MLPClassifier.load_from_checkpoint(path, trust=["mine"]))
    assert_trained_with_focal(MLPClassifier.load_from_checkpoint(path, trust="mine"))


def test_what_the_program_has_imported_may_be_named() -> None:
    path = own(optimizer="mine.MySGD", lr=0.1)
    __import__("mine")
    model = MLPClassifier.load_from_checkpoint(path)
    assert_trained_with_focal(model)
    assert type(model.optimization.build_optimizer(model.named_parameters())).__name__ == "MySGD"


def test_a_name_of_the_caller_needs_no_trust() -> None:
    assert_trained_with_focal(MLPClassifier.load_from_checkpoint(write(), loss="mine.Focal", loss_args={"gamma": 3}))


def test_a_trusted_module_does_not_make_everything_a_loss() -> None:
    Path("mine.py").write_text("import subprocess\n")
    path = write(loss="mine.subprocess.run", loss_args=SHELL)
    assert "is a function" in assert_refused(lambda: MLPClassifier.load_from_checkpoint(path, trust=["mine"]))


def test_trust_ends_with_the_loading() -> None:
    Path("other.py").write_text(Path("mine.py").read_text())
    MLPClassifier.load_from_checkpoint(own(), trust=["mine"])
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


def test_a_checkpoint_of_lightnings_own_command_line_is_loaded() -> None:
    path = write(
        _instantiator="lightning.pytorch.cli.instantiate_module", _class_path="litnets.tasks.mlp.MLPClassifier"
    )
    assert type(Classifier.load_from_checkpoint(path)) is MLPClassifier


class FixedSize(MLPClassifier):
    def __init__(self, num_classes: int) -> None:
        super().__init__(input_shape=(3,), num_classes=num_classes, hidden_layer_sizes=[4])


def test_a_subclass_with_fewer_arguments_is_loaded() -> None:
    model = FixedSize(2)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, "fixed.ckpt")
    again = FixedSize.load_from_checkpoint("fixed.ckpt")
    torch.testing.assert_close(again.state_dict(), model.state_dict())


def test_hyperparameters_of_a_file_replace_those_of_the_checkpoint() -> None:
    Path("hparams.yaml").write_text("{input_shape: [3], num_classes: 2, hidden_layer_sizes: [4], lr: 0.5}")
    assert MLPClassifier.load_from_checkpoint(write(lr=0.1), hparams_file="hparams.yaml").hparams["lr"] == 0.5
    Path("hparams.yaml").write_text("{input_shape: [3], num_classes: 2, loss: trap.Loss}")
    assert_refused(lambda: MLPClassifier.load_from_checkpoint(write(), hparams_file="hparams.yaml"))


def test_loading_is_not_called_on_a_model() -> None:
    model = MLPClassifier(input_shape=(3,), num_classes=2)
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        model.load_from_checkpoint(write())


def test_a_checkpoint_of_another_task_is_refused() -> None:
    assert "does not fit RNNForecaster" in assert_refused(lambda: RNNForecaster.load_from_checkpoint(write()))
