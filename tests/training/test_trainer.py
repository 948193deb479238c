from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer

from litnets.data import TableCSV
from litnets.tasks import MLPRegressor
from litnets.training.trainer import AutoTrainer, fastest_precision

QUIET = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
CHOICES = ("bf16-mixed", "32-true")


@pytest.fixture
def timed(monkeypatch):
    """Set the time of a bfloat16 matrix product as a fraction of that of a float32 one."""

    def set_fraction(fraction):
        ticks = [0.0]
        for _ in range(10):
            for seconds in (1.0, fraction):
                ticks += [ticks[-1], ticks[-1] + seconds]
        clock = iter(ticks[1:])
        monkeypatch.setattr("litnets.training.trainer.time", SimpleNamespace(perf_counter=lambda: next(clock)))

    return set_fraction


@pytest.fixture
def gpu(monkeypatch):
    def set_gpu(bf16):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )

    return set_gpu


@pytest.mark.parametrize(
    ("fraction", "choice"), [(0.5, "bf16-mixed"), (0.9, "32-true"), (1.0, "32-true"), (5, "32-true")]
)
def test_precision_is_timed_on_a_cpu(timed, fraction, choice):
    timed(fraction)
    assert fastest_precision("cpu") == choice


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
@pytest.mark.parametrize(("bf16", "choice"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_on_a_gpu_depends_on_bf16_support(gpu, accelerator, bf16, choice):
    gpu(bf16)
    assert fastest_precision(accelerator) == choice


def test_cpu_precision_is_timed_even_with_a_gpu(gpu, timed):
    gpu(True)
    timed(5)
    assert fastest_precision("cpu") == "32-true"


@pytest.mark.parametrize("accelerator", ["mps", "tpu"])
def test_others_are_left_alone(accelerator):
    assert fastest_precision(accelerator) == "32-true"


def test_this_machine():
    assert fastest_precision() in CHOICES
    assert AutoTrainer(precision="auto", **QUIET).precision in CHOICES


@pytest.mark.parametrize("choice", CHOICES)
def test_auto_selects_the_fastest_precision(monkeypatch, choice):
    monkeypatch.setattr(
        "litnets.training.trainer.fastest_precision", lambda accelerator: choice if accelerator == "cpu" else ""
    )
    assert AutoTrainer(precision="auto", **QUIET).precision == choice


@pytest.mark.parametrize(("value", "precision"), [(None, "32-true"), ("64-true", "64-true"), (32, "32-true")])
def test_other_precisions_are_passed_to_lightning(value, precision):
    assert AutoTrainer(precision=value, **QUIET).precision == precision


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
@pytest.mark.parametrize("loss", ["MSELoss", "HuberLoss"])
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_tables_are_scaled_before_rounding(tmp_path, precision, loss):
    """Unscaled, all years (and all prices) round to the same bfloat16 value, and prices overflow float16."""
    rows = [f"{2000 + i % 25},{300_000 + i}" for i in range(200)]
    (tmp_path / "houses.csv").write_text("\n".join(["year,price", *rows]))
    data = TableCSV(str(tmp_path / "houses.csv"), target="price", batch_size=200)
    data.setup()
    recorded = []

    class Recorder(MLPRegressor):
        def loss(self, outputs, targets):
            recorded.append(targets)
            return super().loss(outputs, targets)

        def forward(self, inputs):
            recorded.append(inputs)
            return super().forward(inputs)

    model = Recorder(
        data.input_shape,
        num_targets=data.num_targets,
        target_mean=data.target_mean,
        target_std=data.target_std,
        loss=loss,
    )
    trainer = Trainer(precision=precision, max_epochs=1, enable_model_summary=False, num_sanity_val_steps=0, **QUIET)
    trainer.fit(model, data)
    inputs, targets = recorded[:2]
    assert [len(inputs.unique()), len(targets.unique())] == [25, len(targets)]
    assert inputs.abs().max() < 3
    assert targets.min() >= 300_000
