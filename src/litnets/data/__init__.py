"""LightningDataModules, and the machinery of their batches."""

from litnets.data.augment import Augmentation, Cutout, RandomFlip, RandomShift
from litnets.data.datamodule import ArrayDataModule, ImageDataModule
from litnets.data.digits import Digits
from litnets.data.mnist import MNIST, FashionMNIST
from litnets.data.series import ETTh1, ETTh2, SeriesCSV
from litnets.data.series_folder import SeriesFolder

__all__ = [
    "MNIST",
    "ArrayDataModule",
    "Augmentation",
    "Cutout",
    "Digits",
    "ETTh1",
    "ETTh2",
    "FashionMNIST",
    "ImageDataModule",
    "RandomFlip",
    "RandomShift",
    "SeriesCSV",
    "SeriesFolder",
]
