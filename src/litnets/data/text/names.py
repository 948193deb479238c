"""Names: surnames in 18 languages, to classify by language."""

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from litnets.data.core.base import SplitDataModule
from litnets.data.core.csv_files import read_utf8
from litnets.data.core.download import check_md5, download
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.listing import new_files
from litnets.data.core.splits import split_indices
from litnets.data.text.base import TextDataModule, duplicate_groups, label_indices
from litnets.data.text.reading import Sample

# MD5 checksum of the file of each language.
FILES = {
    "Arabic": "82fae9e94c57f0ce3971ff005db0429e",
    "Chinese": "7dc684c0c97218fccbbe40b4ae5a1feb",
    "Czech": "88035e92cbcd534cf6888c761c5c63af",
    "Dutch": "6ab7bbaf044b499721053f90e0773c5e",
    "English": "950fc1c5c1406e12f1d3c67bbb33ed66",
    "French": "20ca80761015630dbb80c0f1d43cb659",
    "German": "d10473b75cbb39f75de4ba71dccd852a",
    "Greek": "2edefe72c04ef0dafcc08080a06e71fc",
    "Irish": "e7eb4e53253058c0744bbb76cb3110f1",
    "Italian": "80327fae66e0ac14495bc0f62fc0c63f",
    "Japanese": "f5b11bdb2e0435c0a22c1a731aa287d8",
    "Korean": "a9b83a6c85dd59ed024a09c61de0c0e9",
    "Polish": "71aca5ee180890e83daeae1b01429dc0",
    "Portuguese": "9e678db31d44422908885fd3ddea89d6",
    "Russian": "abc12f2851bf747c0676ec50aceed9de",
    "Scottish": "7cb6daa864d1beac09420ea666c10f3d",
    "Spanish": "61f0b4e4deb4acaad0086996124e9b32",
    "Vietnamese": "1c081f30420eb147fb747a90e3d2a7af",
}

LARGEST_FILE = 85_168  # bytes, of Russian.txt


class Names(SplitDataModule, TextDataModule):
    """20,050 surnames in 18 languages, read character by character (PyTorch's tutorial on character-level RNNs).

    The classes are imbalanced: 9,384 names are Russian, 73 Vietnamese. Many names occur several times, in one language
    (the 2,000 Arabic lines hold 108 distinct names) or in several, which bounds the accuracy. Duplicates of a name,
    whatever their case, accents, apostrophes and spaces, stay in the same split, so that no test name is a training
    name.

    The files are `data_dir/names/*.txt`. Missing ones are downloaded on first use from
    raw.githubusercontent.com/spro/practical-pytorch (MIT license). Each is verified by its MD5 checksum.

        litnets fit --config configs/names_rnn.yaml

    Args:
        data_dir: Folder of the data sets.
        val_size: Validation split, a fraction or a number of names.
        test_size: Test split, a fraction or a number of names.
        predict_path: New names for `predict`: a `.txt` file with one name per line, a folder of such files at any
            depth, or a `.csv`, `.tsv` or `.jsonl` file with a column of names (`text_column`). The training data are
            not needed. Letters outside the vocabulary become the unknown token. Default: the test split.
        **loading: Arguments of `TextDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    source: ClassVar[str] = (
        "https://raw.githubusercontent.com/spro/practical-pytorch/c520c52e68e945d88fff563dba1c028b6ec0197b/data/names/"
    )
    files: ClassVar[dict[str, str]] = FILES

    def __init__(
        self,
        data_dir: str = "data",
        val_size: float = 0.1,
        test_size: float = 0.1,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(val_size, test_size, tokens="characters", predict_path=predict_path, **loading)
        self.folder = Path(data_dir) / "names"

    def download(self) -> None:
        for language, md5 in self.files.items():
            download([f"{self.source}{language}.txt"], self.folder / f"{language}.txt", md5, LARGEST_FILE)

    def read_new(self, file: Path) -> list[Sample]:
        """Return one sample per line. Skip empty lines."""
        lines = enumerate(read_utf8(file).splitlines(), 1)
        return [Sample(name, "", f"{file}, line {i}") for i, name in lines if name.strip()]

    def read_labeled(self, path: Path) -> list[Sample]:
        """Return the names in a folder of files such as `German.txt`."""
        return [
            name._replace(label=file.stem)
            for file in new_files(path, (".txt",), "list of names")
            for name in self.read_new(file)
        ]

    def read(self) -> tuple[list[Sample], dict[str, Tensor]]:
        samples = []
        for language, md5 in self.files.items():
            path = self.folder / f"{language}.txt"
            names = self.read_new(path)
            check_md5(path, md5)
            samples += [name._replace(label=language) for name in names]

        def propose() -> tuple[Tensor, Tensor, Tensor]:
            return split_indices(label_indices(samples), len(samples), self.split_spec, duplicate_groups(samples))

        return samples, self.assign_splits(Fingerprint.of_verified(len(samples)), propose)
