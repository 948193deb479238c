import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.tasks import CNNRegressor, MLPRegressor, Regressor, RNNRegressor
from litnets.tasks.regression import Score

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

MEAN, STD = [2000.0, -3.0], [2.0, 0.5]
LINKED_ATTRIBUTES = {"target_mean": MEAN, "target_std": STD, "target_names": ["year", "depth"]}


def outputs_and_targets(size=53):
    """Return scaled outputs, and targets in their original units; the first target is far from zero."""
    rng = np.random.default_rng(0)
    scaled = rng.normal([0.3, 0.0], size=(size, 2))
    outputs = (0.8 * scaled + rng.normal(size=(size, 2)) * [0.2, 0.6]).astype("float32")
    return outputs, (scaled * STD + MEAN).astype("float32")


def trainer(**options):
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(**{"accelerator": "cpu", "logger": False, "max_epochs": 1, **quiet, **options})


def loader(outputs, targets, batch_size=10):
    return DataLoader(TensorDataset(torch.from_numpy(outputs), torch.from_numpy(targets)), batch_size=batch_size)


def scores(targets, predictions, average="uniform_average"):
    return {
        "r2": r2_score(targets, predictions, multioutput=average),
        "mae": mean_absolute_error(targets, predictions, multioutput=average),
        "rmse": root_mean_squared_error(targets, predictions, multioutput=average),
    }


@pytest.mark.parametrize(("how", "split"), [("validate", "val"), ("test", "test")])
def test_metrics_match_scikit_learn_in_the_units_of_the_targets(how, split):
    outputs, targets = outputs_and_targets()
    predictions = outputs.astype(float) * STD + MEAN
    expected = scores(targets, predictions)
    assert 0.5 < expected["r2"] < 0.9
    (metrics,) = getattr(trainer(), how)(
        Regressor(nn.Identity(), 2, **LINKED_ATTRIBUTES), loader(outputs, targets), verbose=False
    )
    for name, value in expected.items():
        assert metrics[f"{split}/{name}"] == pytest.approx(value, rel=2e-4), name
    each = scores(targets, predictions, "raw_values")
    for name, values in each.items():
        for target, value in zip(LINKED_ATTRIBUTES["target_names"], values, strict=True):
            if how == "test":
                assert metrics[f"test/{name}/{target}"] == pytest.approx(value, rel=2e-4)
    assert len(metrics) == (10 if how == "test" else 4)


def test_a_single_target_has_no_metrics_per_target():
    outputs, targets = (array[:, :1] for array in outputs_and_targets())
    model = Regressor(nn.Identity(), 1, target_mean=MEAN[:1], target_std=STD[:1])
    (metrics,) = trainer().test(model, loader(outputs, targets), verbose=False)
    assert set(metrics) == {"test/loss", "test/r2", "test/mae", "test/rmse"}
    assert metrics["test/r2"] == pytest.approx(r2_score(targets, outputs * STD[0] + MEAN[0]), rel=2e-4)


def test_r2_is_exact_for_targets_far_from_zero():
    """In float32, sums of squares of numbers around 2,000,000 are too coarse for a standard deviation of 10."""
    rng = np.random.default_rng(0)
    targets = (2e6 + 10 * rng.normal(size=(5000, 1))).astype("float32")
    predictions = (targets + 5 * rng.normal(size=targets.shape)).astype("float32")
    score = Score("r2", torch.tensor([2e6]), torch.tensor([10.0]))
    for part in np.split(np.arange(5000), 5):
        score.update(torch.from_numpy(predictions[part]), torch.from_numpy(targets[part]))
    assert score.compute().item() == pytest.approx(r2_score(targets.astype(float), predictions.astype(float)), abs=1e-5)


@pytest.mark.parametrize("predictions", [[3.0, 3, 3], [3.0, 4, 5]])
def test_r2_of_equal_targets_matches_scikit_learn(predictions):
    score = Score("r2", torch.tensor([3.0]), torch.tensor([1.0]))
    score.update(torch.tensor(predictions).unsqueeze(1), torch.full((3, 1), 3.0))
    assert score.compute().item() == r2_score([3.0] * 3, predictions)


@pytest.mark.parametrize("value", [3.0, 3.1, 3000.7, -2e6])
@pytest.mark.parametrize("batches", [1, 3])
def test_r2_of_equal_targets_far_from_the_training_mean_is_0(value, batches):
    score = Score("r2", torch.tensor([3.0]), torch.tensor([0.7]))
    for _ in range(batches):
        score.update(torch.full((17, 1), value + 1), torch.full((17, 1), value))
    assert score.compute() == 0


@pytest.mark.parametrize(("center", "spread"), [(5000.0, 0.5), (-300.0, 0.01), (1.0, 100.0)])
def test_r2_of_targets_far_from_the_training_mean_matches_scikit_learn(center, spread):
    """Measured from the training mean, the squares of a narrow split would cancel in float32."""
    rng = np.random.default_rng(0)
    targets = (center + spread * rng.normal(size=(200, 1))).astype("float32")
    predictions = (targets + 0.5 * spread * rng.normal(size=targets.shape)).astype("float32")
    score = Score("r2", torch.tensor([0.0]), torch.tensor([1.0]))
    for part in np.split(np.arange(200), 8):
        score.update(torch.from_numpy(predictions[part]), torch.from_numpy(targets[part]))
    assert score.compute().item() == pytest.approx(r2_score(targets.astype(float), predictions.astype(float)), abs=2e-4)


def test_a_score_continues_the_sums_of_version_0_1():
    """They were measured from the training mean, and had no origin."""
    outputs, targets = outputs_and_targets()
    predictions = (outputs * STD + MEAN).astype("float32")
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    score = Score("r2", mean, std)
    first = (torch.from_numpy(targets[:20]) - mean) / std
    score.errors = ((torch.from_numpy(predictions[:20] - targets[:20])) / std).square().sum(0)
    score.sums, score.squares, score.count = first.sum(0), first.square().sum(0), torch.tensor(20)
    score.update(torch.from_numpy(predictions[20:]), torch.from_numpy(targets[20:]))
    expected = r2_score(targets.astype(float), predictions.astype(float))
    assert score.compute().item() == pytest.approx(expected, rel=2e-4)


def test_scores_of_several_processes_are_those_of_all_samples():
    """Each process measures the variance from its own first target; torchmetrics stacks such states."""
    outputs, targets = outputs_and_targets()
    predictions = (outputs * STD + MEAN).astype("float32")
    for kind, expected in scores(targets.astype(float), predictions.astype(float)).items():
        ranks = [Score(kind, torch.tensor(MEAN), torch.tensor(STD)) for _ in range(3)]  # the last one has no sample
        for rank, part in zip(ranks, (slice(0, 20), slice(20, 53)), strict=False):
            rank.update(torch.from_numpy(predictions[part]), torch.from_numpy(targets[part]))
        together = Score(kind, torch.tensor(MEAN), torch.tensor(STD))
        together.update(torch.zeros(1, 2), torch.zeros(1, 2))  # torchmetrics warns if `compute` comes first
        for name in ("origin", "sums", "squares", "count"):
            setattr(together, name, torch.stack([getattr(rank, name) for rank in ranks]))
        together.errors = sum(rank.errors for rank in ranks)
        assert together.compute().item() == pytest.approx(expected, rel=2e-4), kind


def test_scores_do_not_share_a_state_that_is_equal_by_chance():
    """The errors of the first batch are 0, so that those of mae and rmse are equal."""
    targets = torch.tensor([[1.0], [2.0], [5.0]])
    model = Regressor(nn.Identity(), 1)
    model.val_metrics.update(targets, targets)
    model.val_metrics.update(targets + 3, targets)
    values = model.val_metrics.compute()
    assert values["val/mae"] == pytest.approx(1.5)
    assert values["val/rmse"] == pytest.approx(4.5**0.5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, lambda e: (e**2).mean()),
        ({"loss": "L1Loss"}, lambda e: abs(e).mean()),
        (
            {"loss": "HuberLoss", "loss_args": {"delta": 0.3}},
            lambda e: np.where(abs(e) < 0.3, 0.5 * e**2, 0.3 * (abs(e) - 0.15)).mean(),
        ),
        (
            {"loss": "SmoothL1Loss", "loss_args": {"beta": 0.3}},
            lambda e: np.where(abs(e) < 0.3, 0.5 * e**2 / 0.3, abs(e) - 0.15).mean(),
        ),
    ],
)
def test_losses_compare_scaled_values(arguments, expected):
    outputs, targets = outputs_and_targets()
    loss = Regressor(nn.Identity(), 2, **LINKED_ATTRIBUTES, **arguments).loss(
        torch.from_numpy(outputs), torch.from_numpy(targets)
    )
    error = outputs - (targets.astype(float) - MEAN) / STD
    assert loss.item() == pytest.approx(expected(error), rel=1e-4)


def test_predictions_are_in_the_units_of_the_targets():
    outputs, targets = outputs_and_targets(7)
    model = Regressor(nn.Identity(), 2, **LINKED_ATTRIBUTES)
    columns = model.predict_step((torch.from_numpy(outputs), torch.from_numpy(targets)), 0)
    np.testing.assert_allclose(columns["prediction"], outputs * STD + MEAN, rtol=1e-6)
    one = Regressor(nn.Identity(), 1, target_mean=[5.0], target_std=[2.0])
    predictions = one.predict_step((torch.tensor([[1.0], [-1.0]]), None), 0)["prediction"]
    assert predictions.tolist() == [7, 3]


def test_the_scale_is_in_the_checkpoint(tmp_path):
    """Commands build the model with the scale of the current data, which may have changed since the training."""
    model = MLPRegressor(
        input_shape=(3,), num_targets=2, **LINKED_ATTRIBUTES, loss="HuberLoss", loss_args={"delta": 2.0}
    )
    data = DataLoader(TensorDataset(torch.randn(4, 3), torch.randn(4, 2)), batch_size=2)
    run = trainer()
    run.fit(model, data, data)
    run.save_checkpoint(tmp_path / "model.ckpt")
    reloaded = MLPRegressor.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert reloaded.criterion.delta == 2.0
    other = MLPRegressor(input_shape=(3,), num_targets=2, target_mean=[0.0, 0.0], target_std=[1.0, 1.0])
    other.load_state_dict(torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"])
    x = torch.randn(5, 3)
    for loaded in (reloaded, other):
        assert torch.equal(loaded.eval().predict_step((x, None), 0)["prediction"],
                           model.eval().predict_step((x, None), 0)["prediction"])  # fmt: skip
    assert other.target_mean.tolist() == MEAN


def test_a_training_learns_and_monitors_the_validation_loss():
    torch.manual_seed(0)
    x = torch.randn(80, 3)
    y = 1000 + 50 * (x @ torch.tensor([[1.0], [2.0], [-1.0]]))
    data = DataLoader(TensorDataset(x, y), batch_size=10)
    scale = {"target_mean": [y.mean().item()], "target_std": [y.std().item()]}
    model = MLPRegressor(input_shape=(3,), num_targets=1, hidden_layer_sizes=[16], lr=0.02, **scale)
    run = trainer(max_epochs=8)
    run.fit(model, data, data)
    assert run.callback_metrics["val/r2"] > 0.95
    for name in ("val/loss", "val/r2", "val/mae", "val/rmse", "train/r2"):
        assert name in run.callback_metrics
        assert model.check_monitor(name) is None
    assert (model.monitor, model.monitor_mode) == ("val/loss", "min")


@pytest.mark.parametrize(
    ("task", "shape"), [(MLPRegressor, (1, 8, 8)), (CNNRegressor, (1, 8, 8)), (RNNRegressor, (20, 7))]
)
def test_data_without_numeric_targets_are_refused(task, shape):
    with pytest.raises(InputError, match=rf"{task.__name__} predicts numbers.* use {task.__name__[:3]}Classifier"):
        task(input_shape=shape, num_targets=None)


@pytest.mark.parametrize(("task", "shape"), [(CNNRegressor, (13,)), (RNNRegressor, (13,))])
def test_a_table_row_is_refused_with_a_hint_to_the_mlp(task, shape):
    with pytest.raises(InputError, match=r"a table row \(13\): use MLPRegressor"):
        task(input_shape=shape, num_targets=1)


def test_a_constant_training_target_does_not_make_the_loss_nan():
    model = Regressor(nn.Identity(), 2, target_mean=[5.0, 3.0], target_std=[0.0, 2.0])
    assert model.loss(torch.zeros(1, 2), torch.tensor([[5.0, 5.0]])).item() == 0.5
    assert model.predict_step((torch.ones(1, 2), None), 0)["prediction"].tolist() == [[6.0, 5.0]]
