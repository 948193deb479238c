"""LightningDataModules, and the machinery of their batches."""

from litnets.data.augment import Augmentation, Cutout, RandomFlip, RandomShift
from litnets.data.datamodule import ArrayDataModule, ImageDataModule
from litnets.data.digits import Digits
from litnets.data.mnist import MNIST, FashionMNIST
from litnets.data.names import Names
from litnets.data.text import TextDataModule
from litnets.data.text_files import TextFiles

__all__ = [
    "MNIST",
    "ArrayDataModule",
    "Augmentation",
    "Cutout",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "Names",
    "RandomFlip",
    "RandomShift",
    "TextDataModule",
    "TextFiles",
]
