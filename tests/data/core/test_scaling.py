import numpy as np
import pytest
import torch

from litnets.data.core.scaling import replace_zero_std


@pytest.mark.parametrize("make", [list, np.array, lambda std: torch.tensor(std, dtype=torch.float64)])
def test_the_std_of_a_constant_feature_becomes_1(make) -> None:
    assert replace_zero_std(make([0.0, 1e-300, 0.1, 7.0])) == [1.0, 1e-300, 0.1, 7.0]
    assert replace_zero_std(make([0.0, 1e-7, 0.1, 7.0]), 1e-6) == [1.0, 1.0, 0.1, 7.0]


def test_the_threshold_can_differ_between_features() -> None:
    assert replace_zero_std([0.5, 0.5], np.array([0.4, 0.5])) == [0.5, 1.0]
