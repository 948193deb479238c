"""The whitening layer of AirNetClassifier, which is fitted on the first training batch."""

from pathlib import Path
from types import SimpleNamespace

import torch

from litnets.__main__ import main
from litnets.nets import AirNet
from litnets.tasks import AirNetClassifier

DIGITS = ["--data", "Digits", "--data.batch_size", "256", "--trainer.max_epochs", "1", "--model.lr", "0.01"]
QUICK = ["--trainer.logger", "false", "--test_after_fit", "false"]
AIRNET = ["--model", "AirNetClassifier", "--model.widths", "[4,6]", *DIGITS, *QUICK]


def fit(*options: str) -> Path:
    assert main(["fit", *AIRNET, *options]) == 0
    return max(Path("checkpoints").rglob("config.yaml"), key=lambda path: path.stat().st_mtime_ns).parent


def whitening(run: Path) -> torch.Tensor:
    state = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    assert state["net.whitening.fitted"]
    return state["net.whitening.weight"]


def test_whitening_is_fitted_on_the_first_batch(monkeypatch) -> None:
    seen = []
    step = AirNetClassifier.training_step
    monkeypatch.setattr(
        AirNetClassifier, "training_step", lambda self, batch, i: seen.append(batch[0]) or step(self, batch, i)
    )
    run = fit()
    expected = AirNet(1, 10, widths=(4, 6)).whitening
    expected.fit(seen[0])
    torch.testing.assert_close(whitening(run), expected.weight)
    expected.fit(seen[1])
    assert not torch.allclose(whitening(run), expected.weight)


def test_all_ranks_use_the_weights_of_rank_zero() -> None:
    model = AirNetClassifier(input_shape=(1, 8, 8), num_classes=3, widths=(4,))
    model.trainer = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda weight: torch.full_like(weight, 7)))
    model.on_train_start()
    model.on_train_batch_start((torch.randn(4, 1, 8, 8), torch.zeros(4)), 0)
    assert (model.net.whitening.weight == 7).all()
    model.net.whitening.weight.fill_(5)
    model.on_train_batch_start((torch.randn(4, 1, 8, 8), torch.zeros(4)), 1)
    assert (model.net.whitening.weight == 5).all(), "the layer is fitted only once"


def test_whitening_is_restored_from_a_checkpoint(monkeypatch) -> None:
    """When the model is loaded without data, when a run is resumed, and when a run starts from these weights."""
    run = fit()
    first = whitening(run)
    model = AirNetClassifier.load_from_checkpoint(run / "best.ckpt", weights_only=True)
    assert model.net.whitening.fitted
    assert torch.equal(model.net.whitening.weight, first)
    monkeypatch.setattr("litnets.nets.airnet.Whitening.fit", None)  # a call would raise
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert torch.equal(whitening(run), first)
    other = fit("--init_from", str(run / "best.ckpt"), "--seed_everything", "1")
    assert other != run
    assert torch.equal(whitening(other), first)


def test_checkpoints_with_the_former_buffer_name_load(monkeypatch) -> None:
    """Up to version 0.1 the buffer `fitted` was called `known`."""
    run = fit("--trainer.callbacks", "EMA")
    for path in run.glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        for key in ("state_dict", "current_model_state"):
            content[key]["net.whitening.known"] = content[key].pop("net.whitening.fitted")
        torch.save(content, path)
    first = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]["net.whitening.weight"]
    assert AirNetClassifier.load_from_checkpoint(run / "best.ckpt").net.whitening.fitted
    assert main(["test", "--config", str(run / "config.yaml"), "--trainer.logger", "false"]) == 0
    monkeypatch.setattr("litnets.nets.airnet.Whitening.fit", None)  # a call would raise
    other = fit("--init_from", str(run / "best.ckpt"), "--seed_everything", "1")
    assert torch.equal(whitening(other), first)
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert torch.equal(whitening(run), first)
