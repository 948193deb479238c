"""Attributions of networks whose answer is known."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from litnets.analysis.explain.attribution import METHODS, attribute, check_method, occlusion_window, relative_error
from litnets.analysis.explain.inputs import Example, Kind
from litnets.errors import InputError
from litnets.nets import MLP, RNN, CNN1d, Embedded, Transformer

pytest.importorskip("captum", reason="needs the extra explain")


def example(kind: Kind, *inputs: Tensor, groups: dict[str, list[int]] | None = None) -> Example:
    """Return an input as a network reads it."""
    tokens = [str(token) for token in inputs[0][0].tolist()] if kind == "text" else []
    return Example("one", kind, inputs[0][0], inputs, groups or {}, tokens)


def row(*values: float) -> Example:
    return example("row", torch.tensor([values]), groups={str(i): [i] for i in range(len(values))})


def answer(index: int, outputs: int) -> Tensor:
    return torch.eye(outputs)[[index]]


class Called(nn.Module):
    """A network that is called as a LightningModule is: with a tensor, or a tuple of them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Any) -> Tensor:
        outputs: Tensor = self.net(inputs) if isinstance(inputs, Tensor) else self.net(*inputs)
        return outputs


def test_integrated_gradients_of_a_linear_network_are_weights_times_inputs() -> None:
    linear = nn.Linear(4, 3)
    one = row(1.0, -2.0, 0.5, 3.0)
    found = attribute("integrated_gradients", linear, one, answer(1, 3))
    torch.testing.assert_close(found.map, (linear.weight[1] * one.inputs[0][0]).detach())
    assert found.answer == pytest.approx(float(linear(one.inputs[0])[0, 1].detach()))
    assert found.completeness_error is not None
    assert found.completeness_error < 1e-5


def test_occlusion_and_saliency_of_a_linear_network() -> None:
    linear = nn.Linear(4, 3)
    one = row(1.0, -2.0, 0.5, 3.0)
    weights = linear.weight[1].detach()
    torch.testing.assert_close(attribute("saliency", linear, one, answer(1, 3)).map, weights.abs())
    torch.testing.assert_close(attribute("occlusion", linear, one, answer(1, 3)).map, weights * one.inputs[0][0])


def test_integrated_gradients_of_an_mlp_are_complete_within_one_percent() -> None:
    net = MLP(20, 3, (64, 64)).eval()
    one = row(*(3 * torch.randn(20)).tolist())
    with torch.no_grad():
        changes = (net(one.inputs[0]) - net(torch.zeros(1, 20)))[0]
    largest = int(changes.abs().argmax())
    found = attribute("integrated_gradients", net, one, answer(largest, 3))
    change = float(changes[largest])
    assert float(found.map.sum()) == pytest.approx(change, rel=0.01)


def test_features_of_a_category_are_one_value() -> None:
    linear = nn.Linear(5, 1, bias=False)
    one = example("row", torch.tensor([[2.0, 0.0, 1.0, 0.0, 3.0]]), groups={"a": [0], "color": [1, 2, 3], "b": [4]})
    weight = linear.weight[0].detach()
    expected = torch.stack([2 * weight[0], weight[2], 3 * weight[4]])
    for method in ("integrated_gradients", "occlusion"):
        torch.testing.assert_close(attribute(method, linear, one, answer(0, 1)).map, expected)


class Quadrant(nn.Module):
    """A CNN whose answer is the amount of ink in the lower right quadrant of an image of 16x16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.conv.weight.data.fill_(1 / 9)
        self.conv.bias.data.zero_()  # type: ignore[union-attr]
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        inside = torch.zeros_like(x)
        inside[..., 8:, 8:] = 1
        return self.relu(self.conv(x * inside)).sum((1, 2, 3)).unsqueeze(1)


def image_with_ink() -> Example:
    """Return an image with ink in the lower right quadrant, which counts, and in the upper left one."""
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 1:5, 1:5] = 1
    image[0, 0, 10:14, 10:14] = 1
    return example("image", image)


@pytest.mark.parametrize("method", METHODS)
def test_the_quadrant_that_decides_is_found(method: Any) -> None:
    map_ = attribute(method, Quadrant(), image_with_ink(), torch.ones(1, 1)).map
    assert map_.shape == (16, 16)
    assert map_[8:, 8:].sum() > 0.9 * map_.sum()
    assert map_[:7, :7].abs().max() < 1e-6


def test_grad_cam_shows_only_evidence_for_the_answer() -> None:
    assert not attribute("grad_cam", Quadrant(), image_with_ink(), -torch.ones(1, 1)).map.any()


class Planted(nn.Module):
    """Answers with the number of times that token 5 occurs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4, padding_idx=0)
        self.embedding.weight.data[:, 0] = 0
        self.embedding.weight.data[5, 0] = 2

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        tokens, _ = inputs
        return self.embedding(tokens)[:, :, 0].sum(1, keepdim=True)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_a_planted_word_is_found(method: Any) -> None:
    text = example("text", torch.tensor([[3, 4, 5, 6, 7]]), torch.tensor([5]))
    found = attribute(method, Planted(), text, torch.ones(1, 1)).map
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0]))


SEQUENCES = {
    "rnn": RNN(6, 3, hidden_size=5, bidirectional=True, conv_widths=(2,), conv_channels=4),
    "cnn1d": CNN1d(6, 3, widths=(4, 4)),
    "transformer": Transformer(6, 3, hidden_size=8, num_heads=2),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_sequences_and_texts(name: str, method: Any) -> None:
    net = Called(SEQUENCES[name]).eval()
    lengths = torch.tensor([9])
    series = example("series", torch.randn(1, 9, 6), lengths)
    if method == "grad_cam" and name == "transformer":
        with pytest.raises(InputError, match="no convolution over positions"):
            check_method(method, net, series)
        return
    check_method(method, net, series)
    assert attribute(method, net, series, answer(0, 3), refine=False).map.shape == (9, 6)
    text = Called(Embedded(SEQUENCES[name], 20, 6)).eval()
    tokens = example("text", torch.randint(1, 20, (1, 9)), lengths)
    assert attribute(method, text, tokens, answer(0, 3), refine=False).map.shape == (9,)


def test_a_convolution_over_the_rows_of_an_image_gives_a_map_of_pixels() -> None:
    image = example("image", torch.randn(1, 1, 12, 10))
    assert attribute("grad_cam", CNN1d(10, 2, widths=(4,)), image, answer(0, 2)).map.shape == (12, 10)


def test_windows_of_an_occlusion_move_by_half_their_size() -> None:
    image = example("image", torch.zeros(1, 3, 28, 14))
    assert occlusion_window(image, (3, 28, 14)) == ((3, 4, 2), (3, 2, 1))
    sound = example("audio", torch.zeros(1, 50, 40))
    assert occlusion_window(sound, (50, 40)) == ((5, 5), (3, 3))


def test_relative_error_of_no_change() -> None:
    assert relative_error(0.0, 0.0) == 0
    assert relative_error(0.1, 0.0) == float("inf")
    assert relative_error(-0.1, -2.0) == pytest.approx(0.05)


def test_tokens_without_an_embedding_are_refused() -> None:
    text = example("text", torch.tensor([[1, 2]]), torch.tensor([2]))
    with pytest.raises(InputError, match=r"need an nn\.Embedding"):
        check_method("saliency", nn.Linear(2, 2), text)


def test_a_missing_captum_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(InputError, match=r"explain needs the package captum; run: pip install -e \"\.\[explain\]\""):
        attribute("saliency", nn.Linear(1, 1), row(1.0), torch.ones(1, 1))
