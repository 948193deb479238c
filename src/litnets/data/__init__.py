"""LightningDataModules, and the machinery of their batches."""

from litnets.data.audio import AudioDataModule, AudioFolder
from litnets.data.augment import Augmentation, ColorJitter, Cutout, RandomFlip, RandomShift
from litnets.data.cifar10 import CIFAR10
from litnets.data.datamodule import ArrayDataModule, ImageDataModule
from litnets.data.digits import Digits
from litnets.data.image_folder import ImageFolder
from litnets.data.mnist import MNIST, FashionMNIST
from litnets.data.spoken_digits import SpokenDigits

__all__ = [
    "CIFAR10",
    "MNIST",
    "ArrayDataModule",
    "AudioDataModule",
    "AudioFolder",
    "Augmentation",
    "ColorJitter",
    "Cutout",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "RandomFlip",
    "RandomShift",
    "SpokenDigits",
]
