import numpy as np
import pytest
import torch

from litnets.data.core.scaling import Standardize, replace_zero_std


@pytest.mark.parametrize("make", [list, np.array, lambda std: torch.tensor(std, dtype=torch.float64)])
def test_the_std_of_a_constant_feature_becomes_1(make) -> None:
    assert replace_zero_std(make([0.0, 1e-300, 0.1, 7.0])) == [1.0, 1e-300, 0.1, 7.0]
    assert replace_zero_std(make([0.0, 1e-7, 0.1, 7.0]), 1e-6) == [1.0, 1.0, 0.1, 7.0]


def test_the_threshold_can_differ_between_features() -> None:
    assert replace_zero_std([0.5, 0.5], np.array([0.4, 0.5])) == [0.5, 1.0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_each_channel_is_scaled_in_the_precision_of_the_statistics_or_of_the_inputs(dtype: torch.dtype) -> None:
    images = torch.arange(24).view(2, 3, 2, 2).to(dtype)
    before = images.clone()
    scaled = Standardize([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], (-1, 1, 1))(images)
    expected = [(images.double()[:, c] - mean) / std for c, (mean, std) in enumerate([(1, 4), (2, 5), (3, 6)])]
    assert scaled.dtype == (dtype if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(scaled.double(), torch.stack(expected, 1), rtol=1e-6, atol=1e-6)
    assert torch.equal(images, before), "the inputs were changed"


def test_the_last_axis_is_scaled_by_default() -> None:
    assert Standardize([1.0, 2.0], [1.0, 2.0])(torch.tensor([[[3.0, 6.0]]])).tolist() == [[[2.0, 2.0]]]
