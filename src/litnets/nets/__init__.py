"""Networks in plain torch: they take sizes, return logits or values, and know nothing about training."""

from litnets.nets.airnet import AirNet
from litnets.nets.backbones import TimmNet, TorchvisionNet
from litnets.nets.cnn import CNN
from litnets.nets.cnn1d import CNN1d
from litnets.nets.layers.embedding import Embedded
from litnets.nets.lenet import LeNet
from litnets.nets.mlp import MLP
from litnets.nets.resnet import ResNet
from litnets.nets.rnn import RNN
from litnets.nets.torchvision_unet import TorchvisionUNet
from litnets.nets.transformer import Transformer
from litnets.nets.unet import UNet

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "AirNet",
    "CNN1d",
    "Embedded",
    "LeNet",
    "ResNet",
    "TimmNet",
    "TorchvisionNet",
    "TorchvisionUNet",
    "Transformer",
    "UNet",
]
