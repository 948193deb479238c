"""A spiking network with surrogate gradients (Neftci et al. 2019, arXiv 1901.09948), on rate-coded digits.

Neurons send spikes, 0 or 1, instead of numbers. A brighter pixel spikes more often. A leaky integrate-and-fire neuron
adds up its weighted input spikes, leaks, and spikes when it exceeds a threshold. The threshold has no useful gradient,
so that training uses the gradient of a smooth function in its place.

    python examples/spiking.py --steps 20

Test accuracy 0.957, mean of 3 seeds, with about 7 spikes per hidden neuron and image; 9 s on one CPU core.
"""

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor, nn

from litnets import Classifier, Digits


class Spike(torch.autograd.Function):
    """A step at zero. Backward, the derivative of the fast sigmoid, 1 / (1 + 10 |x|)^2, takes its place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] / (1 + 10 * x.abs()) ** 2


def rate_code(rates: Tensor, steps: int) -> Tensor:
    """Return regular spike trains `(steps, ...)` with `rates` spikes per step, each between 0 and 1.

    A train has spiked floor(rate * t) times after t steps.
    """
    times = torch.arange(steps + 1, device=rates.device).view(-1, *[1] * rates.ndim)
    return (times * rates).floor().diff(dim=0)


class SpikingMLP(nn.Module):
    """One hidden layer of leaky integrate-and-fire neurons; the outputs are leaky, but do not spike.

    Takes `(N, ...)` with `in_features` numbers each and returns `(N, out_features)`, the mean potential of each output.

    Args:
        in_features: Number of values in one sample.
        out_features: Number of outputs.
        hidden_size: Number of hidden neurons.
        steps: Length of the spike trains.
        decay: Fraction of a potential that is left after one step.
    """

    def __init__(
        self, in_features: int, out_features: int, hidden_size: int = 128, steps: int = 20, decay: float = 0.9
    ) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(in_features, hidden_size), nn.Linear(hidden_size, out_features)
        self.steps, self.decay = steps, decay
        self.spikes_per_neuron = torch.tensor(0.0)  # per sample, of the last batch

    def forward(self, x: Tensor) -> Tensor:
        potential = output = total = torch.zeros((), device=x.device)
        spikes_sent = torch.zeros((), device=x.device)
        for spikes in rate_code(x.flatten(1).sigmoid(), self.steps):  # normalized pixels become rates
            potential = self.decay * potential + self.hidden(spikes)
            sent = Spike.apply(potential - 1)
            potential = potential - sent  # a neuron that spikes loses its threshold
            output = self.decay * output + self.head(sent)
            total, spikes_sent = total + output, spikes_sent + sent.detach().mean()
        self.spikes_per_neuron = spikes_sent
        return total / self.steps


def main(args: Sequence[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="length of the spike trains")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    seed_everything(options.seed, verbose=False)
    data = Digits(batch_size=64)
    model = Classifier(SpikingMLP(64, 10, steps=options.steps), num_classes=10, lr=0.003)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's use of torch
    trainer = Trainer(max_epochs=options.epochs, logger=False, accelerator="cpu", **quiet)
    trainer.fit(model, data)
    (metrics,) = trainer.test(model, data, verbose=False)
    print(f"test/accuracy {metrics['test/accuracy']:.4f}")
    print(f"spikes per hidden neuron and image: {model.net.spikes_per_neuron:.1f} in {options.steps} steps")
    return metrics["test/accuracy"]


if __name__ == "__main__":
    main()
