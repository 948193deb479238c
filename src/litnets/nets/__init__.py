"""Networks: torch only. They take sizes and give logits or values, and know nothing of training."""

from litnets.nets.cnn import CNN
from litnets.nets.mlp import MLP
from litnets.nets.rnn import RNN

__all__ = ["CNN", "MLP", "RNN"]
