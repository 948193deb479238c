"""Find pretrained weights, and adapt them to a network with other inputs and outputs."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from litnets.errors import InputError, abbreviate
from litnets.safety.checkpoint_file import load_verified

# The folder of the data set, where `auto` looks first.
_first_folder: ContextVar[Path | None] = ContextVar("first_folder", default=None)

_SHA256 = re.compile(r"-([0-9a-f]{8,64})\.\w+$")  # file names of torchvision and timm contain its first digits

_MISMATCH = re.compile(  # torch's message
    r"size mismatch for (\S+): copying a param with shape torch.Size\((.*?)\) from checkpoint, "
    r"the shape in current model is torch.Size\((.*?)\)\."
)


@dataclass(frozen=True)
class Pretrained:
    """The pretrained weights of a network, and how the images that they were trained on were prepared.

    Args:
        network: Name of the network.
        files: File names to look for in a folder.
        url: Address of the file; None if there is none.
        repository: Repository on the Hugging Face Hub, whose file is `model.safetensors`; None if there is none.
        package: A Python package that contains the weights, and their path in it; None if there is none.
        size: Side of the images, in pixels.
        mean: Mean of each channel (red, green, blue), where black is 0 and white is 1.
        std: Standard deviation of each channel.
        head: Names of the last layers.
        unused: Prefixes of the names of weights that only the original training used.
        renamed: A regular expression for the names in the file, and its replacement; None if the names fit the network.
    """

    network: str
    files: tuple[str, ...]
    url: str | None
    repository: str | None
    package: tuple[str, str] | None
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    head: tuple[str, ...]
    unused: tuple[str, ...] = ()
    renamed: tuple[str, str] | None = None


@contextmanager
def search_first(folder: Path | None) -> Iterator[None]:
    """Let `auto` look in this folder first, for networks that are built inside the block."""
    token = _first_folder.set(folder)
    try:
        yield
    finally:
        _first_folder.reset(token)


def load_pretrained(net: nn.Module, weights: str, pretrained: Pretrained) -> str:
    """Load pretrained weights into a network, and return one line that says what was loaded.

    - Every layer must fit, except the first convolution and the last layer.
    - The last layer starts at zero if its number of outputs differs (as in BiT, Kolesnikov et al. 2020), so that the
      errors of random weights do not disturb the layers before it in the first steps.
    - The first convolution is adapted to other numbers of channels as in timm: for one channel, the filters of red,
      green and blue are summed; for C channels, channel i gets the filters of color i mod 3, scaled by 3 / C.

    Args:
        net: The network.
        weights: `auto`, or the path of a file.
        pretrained: The weights that the network has by default.

    Raises:
        InputError: There is no such file, it is damaged, or it holds the weights of another network.
    """
    path = find_pretrained(pretrained) if weights == "auto" else Path(weights)
    is_from_package = pretrained.package is not None and path.name == Path(pretrained.package[1]).name
    if is_from_package or path.name in pretrained.files:
        _verify(path)
    saved = read_weights(path)
    if is_from_package:
        saved = _rename_in_order(path, saved, net)
    if pretrained.renamed is not None:
        for name in list(saved):
            saved[re.sub(*pretrained.renamed, name)] = saved.pop(name)
    new = _load(path, saved, net, pretrained)
    return f"weights from {path}" + (f"; new: {', '.join(new)}" if new else "")


def find_pretrained(pretrained: Pretrained) -> Path:
    """Return the file of pretrained weights. Download it if it is not on this machine.

    It is looked for in the folder of the data set, torch's hub cache, the cache of the Hugging Face Hub and the
    installed Python packages, in this order. Its checksum is verified.

    Raises:
        InputError: There are no pretrained weights, the file is damaged, or it cannot be downloaded.
    """
    if not (pretrained.files or pretrained.repository or pretrained.package):
        raise InputError(f"weights: there are no pretrained weights for {pretrained.network}; set weights to a file")
    path = _find_on_disk(pretrained) or _download(pretrained)
    _verify(path)
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file of torch.save or safetensors, without running any code in it.

    Raises:
        InputError: There is no such file, it is damaged, or it holds something other than weights.
    """
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"weights: {path} {kind}; expected `auto`, `none` or a file of weights (.pth, .safetensors)")
    with path.open("rb") as file:
        start = file.read(512)
    if start.lstrip()[:1] == b"<":
        raise InputError(f"weights: {path} is a web page, not a file of weights; download it again")
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else load_verified(path, mmap=False)
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        raise InputError(f"weights: {path} is a Lightning checkpoint; start from it with --init_from {path}")
    for key in ("state_dict", "model"):  # where the training scripts of torchvision and timm save the weights
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"weights: {path} does not hold the weights of a network, a dict of tensors by name")
    return content  # with its `_metadata`, the versions of the layers


def adapt_colors(values: Sequence[float], channels: int) -> list[float]:
    """Adapt a statistic of red, green and blue to images with another number of channels.

    One channel gets the mean of the three colors. Otherwise channel i gets the value of color i mod 3, as in the first
    convolution (see `load_pretrained`).
    """
    if channels == 1:
        return [sum(values) / len(values)]
    return [values[channel % len(values)] for channel in range(channels)]


def last_layer(net: nn.Module) -> str:
    """Return the name of the last linear or convolutional layer."""
    names = [name for name, module in net.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return str(names[-1])


def _adapt_filters(filters: Tensor, channels: int) -> Tensor:
    """Adapt RGB filters, `(N, 3, height, width)`, to another number of channels."""
    if channels == 1:
        return filters.sum(1, keepdim=True)
    repeated = filters[:, torch.arange(channels) % 3]
    return repeated * (3 / channels)


def _find_on_disk(pretrained: Pretrained) -> Path | None:
    for folder in _folders():
        for name in pretrained.files:
            if (path := folder / name).is_file():
                return path
    if pretrained.repository is not None:
        from huggingface_hub import try_to_load_from_cache

        if isinstance(cached := try_to_load_from_cache(pretrained.repository, "model.safetensors"), str):
            return Path(cached)
    if pretrained.package is not None:
        package, file = pretrained.package
        spec = find_spec(package)
        if spec is not None and spec.origin is not None and (path := Path(spec.origin).parent / file).is_file():
            return path
    return None


def _folders() -> list[Path]:
    first, hub = _first_folder.get(), Path(torch.hub.get_dir()) / "checkpoints"
    return [hub] if first is None else [first, hub]


def _download(pretrained: Pretrained) -> Path:
    """Download the file into the cache of torch or of the Hugging Face Hub, with a progress bar."""
    try:
        if pretrained.repository is not None:
            from huggingface_hub import hf_hub_download

            return Path(hf_hub_download(pretrained.repository, "model.safetensors"))
        assert pretrained.url is not None
        path = Path(torch.hub.get_dir()) / "checkpoints" / pretrained.files[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # several processes may build the network
            if not path.exists():
                match = _SHA256.search(path.name)
                torch.hub.download_url_to_file(pretrained.url, str(path), match[1] if match else None)
        return path
    except (OSError, RuntimeError) as error:
        source = pretrained.url or f"https://huggingface.co/{pretrained.repository}"
        reason = " ".join(str(error).split())[:200]
        folders = " or ".join(map(str, _folders()))
        raise InputError(
            f"weights: {pretrained.files[0]} is not on this machine and could not be downloaded from {source} "
            f"({reason})\nPut the file into {folders}, or set weights to its path."
        ) from error


def _verify(path: Path) -> None:
    """Compare a file with the SHA-256 in its name, or in the name under which the Hugging Face Hub caches it.

    Raises:
        InputError: The file is damaged.
    """
    match = _SHA256.search(path.name)
    cached_as = path.resolve().name
    expected = match[1] if match else cached_as if re.fullmatch("[0-9a-f]{64}", cached_as) else ""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest() if expected else ""
    if not actual.startswith(expected):
        raise InputError(f"weights: {path} is damaged: its SHA-256 begins with {actual[:16]}, expected {expected}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f'weights: {path} needs safetensors: pip install "litnets[timm]"') from error
    try:
        weights: dict[str, Tensor] = load_file(path)
        return weights
    except SafetensorError as error:
        raise InputError(f"weights: {path} is truncated or damaged: {error}") from error


def _rename_in_order(path: Path, saved: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Rename weights to those of a network that has the same layers in the same order, under other names."""
    names = list(net.state_dict())
    if [name.rpartition(".")[2] for name in names] != [name.rpartition(".")[2] for name in saved]:
        raise InputError(f"weights: the layers in {path} are not those of the network")
    return dict(zip(names, saved.values(), strict=True))


def _load(path: Path, saved: dict[str, Tensor], net: nn.Module, pretrained: Pretrained) -> list[str]:
    """Load weights into the network. Return the names of those in the last layer that do not fit and start at zero."""
    current = net.state_dict()
    in_head = tuple(f"{head}." for head in pretrained.head)
    new = [name for name in current if name.startswith(in_head) and not _has_shape_of(saved.get(name), current[name])]
    first = next(name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)) + ".weight"
    channels = current[first].shape[1]
    if first in saved and channels != 3 and saved[first].shape[1:2] == (3,):
        saved[first] = _adapt_filters(saved[first], channels)
    saved |= {name: torch.zeros_like(current[name]) for name in new}
    broken = [name for name, _ in net.named_parameters() if name in saved and not saved[name].isfinite().all()]
    if broken:
        raise InputError(f"weights: {path} has NaN or infinity in {abbreviate(broken, 3)}; use another file")
    for name in [name for name in saved if name.startswith(pretrained.unused)]:
        del saved[name]
    try:
        missing, unexpected = net.load_state_dict(saved, strict=False)
        problems = [f"it has no {name}" for name in missing]
        problems += [f"no layer for {name}" for name in unexpected if not name.startswith(in_head)]
    except RuntimeError as error:  # one line for each weight whose shape does not fit
        problems = [
            _MISMATCH.sub(r"\1 has shape \2, expected \3", line.strip()) for line in str(error).splitlines()[1:]
        ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise InputError(
            f"weights: {path} does not hold the weights of {pretrained.network}: {'; '.join(problems[:3])}{more}"
        )
    return new


def _has_shape_of(value: Tensor | None, other: Tensor) -> bool:
    return value is not None and value.shape == other.shape
