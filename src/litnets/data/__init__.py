"""LightningDataModules, and the machinery of their batches."""

from litnets.data.audio import AudioDataModule, AudioFolder
from litnets.data.augment import (
    AlternatingFlip,
    Augmentation,
    ColorJitter,
    Cutout,
    Noise,
    RandomAffine,
    RandomFlip,
    RandomShift,
)
from litnets.data.cifar10 import CIFAR10
from litnets.data.datamodule import ArrayDataModule, ImageDataModule
from litnets.data.digits import Digits
from litnets.data.image_arrays import ImageArrays
from litnets.data.image_folder import ImageFolder
from litnets.data.mnist import MNIST, FashionMNIST
from litnets.data.names import Names
from litnets.data.series import ETTh1, ETTh2, SeriesCSV
from litnets.data.series_folder import SeriesFolder
from litnets.data.spoken_digits import SpokenDigits
from litnets.data.streamed_images import StreamedImages
from litnets.data.tables import BreastCancer, Diabetes, Iris, TableCSV, TableDataModule, Wine
from litnets.data.text import TextDataModule
from litnets.data.text_files import TextFiles
from litnets.data.toys import XOR, Moons, Spirals

__all__ = [
    "CIFAR10",
    "MNIST",
    "XOR",
    "AlternatingFlip",
    "ArrayDataModule",
    "AudioDataModule",
    "AudioFolder",
    "Augmentation",
    "BreastCancer",
    "ColorJitter",
    "Cutout",
    "Diabetes",
    "Digits",
    "ETTh1",
    "ETTh2",
    "FashionMNIST",
    "ImageArrays",
    "ImageDataModule",
    "ImageFolder",
    "Iris",
    "Moons",
    "Names",
    "Noise",
    "RandomAffine",
    "RandomFlip",
    "RandomShift",
    "SeriesCSV",
    "SeriesFolder",
    "Spirals",
    "SpokenDigits",
    "StreamedImages",
    "TableCSV",
    "TableDataModule",
    "TextDataModule",
    "TextFiles",
    "Wine",
]
