import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from litnets.analysis.explain.checks import Check, judge, randomize, rank_correlation
from litnets.nets import CNN, Transformer


def test_rank_correlation_equals_that_of_scipy() -> None:
    first, second = torch.randn(5, 6), torch.randint(4, (5, 6)).float()  # with ties
    expected = spearmanr(first.flatten(), second.flatten()).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert rank_correlation(first, torch.ones(5, 6)) == 0


def test_a_map_that_random_weights_also_give_fails() -> None:
    signal = torch.randn(30)
    maps = [signal, torch.randn(30)]
    random = [[signal + 0.1 * torch.randn(30) for _ in range(5)], [torch.randn(30) for _ in range(5)]]
    copied, own = judge(maps, [None, None], random)
    assert copied.failures == ["like random weights"]
    assert own.passed


def test_a_short_map_is_judged_with_the_others() -> None:
    short = torch.tensor([1.0, 2.0, 3.0])
    agreeing = [short] * 5
    opposed = [-short] * 5
    alone, *_ = judge([short], [None], [agreeing])
    assert not alone.passed
    first, *_ = judge([short] * 3, [None] * 3, [agreeing, opposed, opposed])
    assert first.correlation == pytest.approx(1)
    assert first.passed


def test_what_no_network_reads_does_not_count() -> None:
    values, other = torch.zeros(100), torch.zeros(100)
    values[:10], other[:10] = torch.arange(1.0, 11), torch.arange(10.0, 0, -1)
    (check,) = judge([values], [None], [[other]])
    assert check.correlation == pytest.approx(-1)


def test_empty_maps_of_random_networks_do_not_count() -> None:
    signal, empty = torch.randn(30), torch.zeros(30)
    (check,) = judge([signal], [None], [[empty, empty, empty, signal]])
    assert check.correlation == pytest.approx(1)
    assert judge([signal], [None], [[empty]])[0].correlation == 0


@pytest.mark.parametrize(
    ("error", "is_empty", "failure"),
    [(0.06, False, "incomplete by 6%"), (math.inf, False, "incomplete by inf%"), (None, True, "shows nothing")],
)
def test_failures_are_named(error: float | None, is_empty: bool, failure: str) -> None:
    assert Check(error, 0.0, is_empty, 0.0).failures == [failure]
    assert Check(0.04, 0.4, False, 0.4).passed


@pytest.mark.parametrize(
    "net", [CNN(1, 3, widths=(4,)), Transformer(4, 3, hidden_size=8, num_heads=2, pooling="first")]
)
def test_every_weight_matrix_becomes_random(net: nn.Module) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    random = randomize(net, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    for name, parameter in random.named_parameters():
        if parameter.ndim > 1:
            assert not torch.equal(parameter, before[name]), name
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not random.training
    again = randomize(net, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(random.parameters(), again.parameters(), strict=True))
