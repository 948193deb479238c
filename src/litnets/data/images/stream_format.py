"""Safe reading of litdata's format: only plain values, and only from chunks in the folder of the index.

A litdata dataset can run code. Its fields may be pickles, its index may name any module to import, and its file names
may point outside the folder. Such an index is rejected every time litdata reads it, so that it cannot be replaced after
a check. In addition, litdata is given no decoder for such fields.

This module imports litdata, an optional dependency.
"""

import io
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litdata.streaming import config as litdata_config
from litdata.streaming import item_loader as litdata_item_loader
from litdata.streaming import serializers as litdata_serializers
from litdata.utilities import dataset_utilities as litdata_utilities
from torch import Tensor

from litnets.data.images.decoding import open_image
from litnets.errors import InputError
from litnets.safety.files import open_regular


class ImageField(litdata_serializers.JPEGSerializer):  # type: ignore[misc]
    """An encoded JPEG, PNG or WebP image of limited size."""

    def deserialize(self, data: bytes) -> Tensor:
        opened, _ = open_image(io.BytesIO(data), ("JPEG", "PNG", "WEBP"))
        opened.close()
        image: Tensor = super().deserialize(data)
        return image


class TensorField(litdata_serializers.TensorSerializer):  # type: ignore[misc]
    """A tensor whose bytes match its shape. litdata would allocate any shape for a tensor without values."""

    def deserialize(self, data: bytes) -> Tensor:
        view = memoryview(data)
        _, dimensions = struct.unpack_from(">II", view)
        shape = struct.unpack_from(f">{dimensions}I", view, 8)
        if math.prod(shape) and len(view) == 8 + 4 * dimensions:
            raise ValueError(f"the tensor of shape {shape} has no values")
        tensor: Tensor = super().deserialize(data)
        return tensor


# All decoders that litdata may use. None of them can create arbitrary Python objects.
DECODERS: dict[str, litdata_serializers.Serializer] = {
    "bool": litdata_serializers.BooleanSerializer(),
    "int": litdata_serializers.IntegerSerializer(),
    "float": litdata_serializers.FloatSerializer(),
    "str": litdata_serializers.StringSerializer(),
    "text": litdata_serializers.TextSerializer(),
    "bytes": litdata_serializers.BytesSerializer(),
    "numpy": litdata_serializers.NumpySerializer(),
    "no_header_numpy": litdata_serializers.NoHeaderNumpySerializer(),
    "tensor": TensorField(),
    "no_header_tensor": litdata_serializers.NoHeaderTensorSerializer(),
    "jpeg": ImageField(),
    "image": ImageField(),
}

# After the colon comes the number of a dtype or the suffix of an image. litdata would also accept a decoder's name.
_FORMAT = re.compile(rf"({'|'.join(DECODERS)})(:(\d+|jpg|jpeg|png|webp))?", re.ASCII)
_FILE_NAME = re.compile(r"\w[\w.-]{0,200}", re.ASCII)
_TIME = re.compile(r"\w[\w.:+-]{0,100}", re.ASCII)  # used as the name of a folder in the cache


class PyTreeLoader(litdata_item_loader.PyTreeLoader):  # type: ignore[misc]
    """litdata's sample loader, restricted to the decoders above. litdata requires this class name."""

    def setup(self, config: dict[str, Any], chunks: list[Any], serializers: Any, *further: Any, **named: Any) -> None:
        _check_formats(config, "index.json")
        super().setup(config, chunks, DECODERS, *further, **named)

    def _load_batched_item(self, chunk_index: int, chunk_filepath: str, table_idx: int) -> Any:
        # A chunk may declare compressed frames or an Arrow table, which would bypass the decoders. Never read those.
        return litdata_item_loader._BATCH_SKIP


@contextmanager
def checked_indices(address: str) -> Iterator[None]:
    """Make litdata check every index that it reads, as `read_index` does."""

    def load(folder: str) -> dict[str, Any]:
        return read_index(Path(folder), address)

    modules: tuple[Any, ...] = (litdata_config, litdata_utilities)
    originals: list[Callable[[str], dict[str, Any]]] = [module.load_index_file for module in modules]
    for module in modules:
        module.load_index_file = load
    try:
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.load_index_file = original


def read_index(folder: Path, address: str) -> dict[str, Any]:
    """Read and check the index of a split.

    Args:
        folder: Folder of the index.
        address: Name of the dataset in messages.

    Raises:
        InputError: The index asks for more than plain values from chunks in its folder.
        OSError, ValueError: The index cannot be read.
    """
    with open_regular(folder / "index.json") as file:
        index = json.load(file)
    _check_index(index, f"{address}/index.json")
    checked: dict[str, Any] = index
    return checked


def _check_index(index: Any, name: str) -> None:
    if not isinstance(index, dict) or not isinstance(index.get("config"), dict) or "shards" in index:
        raise InputError(f"{name}: expected config and chunks, as written by litdata.optimize")
    config = index["config"]
    _check_formats(config, name)
    for key in ("compression", "encryption", "format"):
        if config.get(key) is not None:
            raise InputError(
                f"{name}: {key}: expected none, got {str(config[key])[:50]!r}; write the chunks without it "
                "(store images as JPEG or PNG instead)"
            )
    if not _is_dictionary_of_leaves(config.get("data_spec")):
        raise InputError(f"{name}: expected each sample to be a flat dictionary, got another structure")
    if not (_TIME.fullmatch(str(index.get("updated_at", "0")))):
        raise InputError(f"{name}: updated_at: expected a time, got {str(index['updated_at'])[:50]!r}")
    chunks = index.get("chunks")
    if not isinstance(chunks, list) or not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        raise InputError(f"{name}: expected a list of chunks")
    for chunk in chunks:
        _check_chunk(chunk, name)


def _check_formats(config: Mapping[str, Any], name: str) -> None:
    formats = config.get("data_format")
    if not isinstance(formats, list) or not formats:
        raise InputError(f"{name}: data_format: expected a list of formats")
    for text in formats:
        if not isinstance(text, str) or not _FORMAT.fullmatch(text):
            raise InputError(
                f"{name}: the format {str(text)[:50]!r} is not allowed, because it can contain Python objects or other "
                f"media; expected one of {', '.join(DECODERS)}"
            )


def _is_dictionary_of_leaves(text: Any) -> bool:
    """Return whether litdata's description of a sample is a flat dictionary.

    This is the only structure for which litdata imports no class that the file names.
    """
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    try:
        protocol, tree = json.loads(text)
        keys = json.loads(tree["context"])
        plain = protocol == 1 and tree["type"] == "builtins.dict" and all(isinstance(key, str) for key in keys)
        return plain and tree["children_spec"] == [leaf] * len(keys)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _check_chunk(chunk: dict[str, Any], name: str) -> None:
    file_name, size, samples = (chunk.get(key) for key in ("filename", "chunk_bytes", "chunk_size"))
    if not isinstance(file_name, str) or not _FILE_NAME.fullmatch(file_name):
        raise InputError(f"{name}: expected the name of a file in the same folder, got {str(file_name)[:100]!r}")
    # A sample takes at least four bytes, for its offset in the chunk.
    if not isinstance(size, int) or not isinstance(samples, int) or not 0 <= 4 * samples <= size:
        raise InputError(f"{name}: {file_name} cannot hold {str(samples)[:20]} samples in {str(size)[:20]} bytes")


def check_chunk_files(folder: Path, index: Mapping[str, Any]) -> None:
    """Raise InputError if a chunk is not a regular file, or shorter than stated in the index."""
    for chunk in index["chunks"]:
        path = folder / chunk["filename"]
        with open_regular(path) as file:
            size = file.seek(0, io.SEEK_END)
        if size < chunk["chunk_bytes"]:
            raise InputError(
                f"{path} is truncated: it has {size} of {chunk['chunk_bytes']} bytes; write or copy it again"
            )
