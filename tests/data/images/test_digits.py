import pytest
import torch
from sklearn.datasets import load_digits

from litnets.data import Digits
from litnets.errors import InputError


def ready(**arguments: object) -> Digits:
    data = Digits(**arguments)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def test_the_data_match_scikit_learn() -> None:
    splits, bunch = ready().splits, load_digits()
    for split in splits.values():
        inputs, targets = split[torch.arange(len(split))]
        assert inputs.dtype == targets.dtype == torch.uint8
        assert (inputs[:, 0].numpy() == bunch.images[split.indices]).all()
        assert (targets.numpy() == bunch.target[split.indices]).all()
    assert sum(map(len, splits.values())) == 1797


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ({}, (1079, 359, 359)),
        ({"val_size": 0.1, "test_size": 100}, (1517, 180, 100)),
        ({"val_size": 0}, (1438, 0, 359)),
        ({"num_folds": 10, "fold": 9, "val_size": 0.1}, (1437, 180, 180)),
    ],
)
def test_sizes_of_the_splits(arguments: dict[str, float], sizes: tuple[int, int, int]) -> None:
    splits = ready(**arguments).splits
    assert tuple(len(splits[name]) for name in ("train", "val", "test")) == sizes


def test_folds_are_test_splits_that_partition_the_data() -> None:
    tests = [ready(num_folds=5, fold=fold).splits["test"].indices for fold in range(5)]
    assert sorted(torch.cat(tests).tolist()) == list(range(1797))


def test_the_split_depends_only_on_split_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ready().splits["test"].indices
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert torch.equal(ready().splits["test"].indices, first)
    assert not torch.equal(ready(split_seed=1).splits["test"].indices, first)


@pytest.mark.parametrize(
    "arguments", [{"val_size": 1797}, {"test_size": -1}, {"num_folds": 1}, {"num_folds": 3, "fold": 3}]
)
def test_invalid_splits_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"val_size|test_size|num_folds"):
        ready(**arguments)
