import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from litnets.data import ImageFolder
from litnets.data.core.class_folders import BrokenFileError
from litnets.data.images.decoding import ImageFiles
from litnets.errors import InputError, RenamedOptionWarning
from tests.helpers.tiny_images import write_image_folder


def ready(root: Path, **arguments: Any) -> ImageFolder:
    data = ImageFolder(str(root), **{"size": 16, "batch_size": 8, **arguments})
    data.prepare_data()
    data.setup()
    return data


def read(folder: Path, name: str, image: Image.Image, shape: tuple[int, int, int], **how: Any) -> torch.Tensor:
    image.save(folder / name, **how)
    return ImageFiles([folder / name], shape).read(0)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# Decoding


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_an_image_of_the_right_size_is_read_unchanged(tmp_path: Path, suffix: str) -> None:
    pixels = noise(12, 10)
    actual = read(tmp_path, f"a.{suffix}", Image.fromarray(pixels), (3, 12, 10))
    assert actual.dtype == torch.uint8
    assert (actual.permute(1, 2, 0).numpy() == pixels).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_become_white(tmp_path: Path, mode: str, channels: int) -> None:
    """A black drawing on a transparent background, whose hidden color is black as well."""
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (0, 0, 8, 4))
    image = drawing.quantize(4) if mode == "P" else drawing.convert(mode)
    actual = read(tmp_path, "a.png", image, (channels, 8, 8))
    assert (actual[:, :4] == 0).all()
    assert (actual[:, 4:] == 255).all()


def test_grayscale_and_rgb_are_converted(tmp_path: Path) -> None:
    gray, rgb = noise(8, 8, 1), noise(8, 8)
    assert (read(tmp_path, "a.png", Image.fromarray(gray), (3, 8, 8)).numpy() == gray).all()
    actual = read(tmp_path, "b.png", Image.fromarray(rgb), (1, 8, 8))[0].numpy()
    assert np.abs(actual - rgb @ [0.299, 0.587, 0.114]).max() <= 0.51  # ITU-R BT.601


def write_tiff(path: Path, values: np.ndarray, order: str) -> None:
    """Write grayscale values uncompressed, in the byte order `<` or `>`."""
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data), 339: sample_format}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    mark = b"II" if order == "<" else b"MM"
    path.write_bytes(mark + struct.pack(f"{order}HI", 42, 8 + len(data)) + data + directory)


GRAY = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000


@pytest.mark.parametrize("file", ["a.png", "b.tif", "c.tif", "d.pgm", "e.tif", "f.tif"])
def test_16_bit_gray_values_keep_their_high_byte(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    writers: dict[str, Callable[[], Any]] = {
        "a.png": lambda: Image.fromarray(GRAY).save(path),
        "b.tif": lambda: write_tiff(path, GRAY, "<"),
        "c.tif": lambda: write_tiff(path, GRAY, ">"),
        "d.pgm": lambda: path.write_bytes(b"P5\n8 8\n65535\n" + GRAY.astype(">u2").tobytes()),
        "e.tif": lambda: write_tiff(path, GRAY.astype(np.int32), "<"),
        "f.tif": lambda: write_tiff(path, GRAY.astype(np.int32), ">"),
    }
    writers[file]()
    assert (ImageFiles([path], (1, 8, 8)).read(0)[0].numpy() == GRAY // 256).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_32_bit_floats_from_0_to_1_are_scaled(tmp_path: Path, order: str) -> None:
    values = (GRAY / 63_000).astype(np.float32)
    write_tiff(tmp_path / "a.tif", values, order)
    assert (ImageFiles([tmp_path / "a.tif"], (1, 8, 8)).read(0)[0].numpy() == np.rint(values * 255)).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32"])
def test_other_ranges_of_values_are_an_option(tmp_path: Path, dtype: str, order: str) -> None:
    black, white = -100 if dtype != "uint16" else 100, 4095
    values = np.linspace(black - 20, white + 20, 64).reshape(8, 8).astype(dtype)
    write_tiff(tmp_path / "a.tif", values, order)
    actual = ImageFiles([tmp_path / "a.tif"], (1, 8, 8), value_range=[black, white]).read(0)[0].numpy()
    expected = np.interp(values.astype(float), [black, white], [0, 255])
    assert np.abs(actual - expected).max() <= 0.51
    inverted = ImageFiles([tmp_path / "a.tif"], (1, 8, 8), value_range=[white, black]).read(0)[0].numpy()
    assert np.abs(inverted - (255 - expected)).max() <= 0.51


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((8, 8), 200, np.int32), "32-bit gray values from 200 to 200; set --data.value_range"),
        (np.full((8, 8), -1, np.int32), "32-bit gray values from -1 to -1"),
        (np.full((8, 8), 70_000, np.int32), "32-bit gray values from 70000 to 70000"),
        (np.linspace(-0.5, 2, 64, dtype=np.float32).reshape(8, 8), "32-bit gray values from -0.5 to 2; set"),
        (np.full((8, 8), np.nan, np.float32), "32-bit gray values from nan to nan"),
    ],
)
def test_32_bit_gray_values_without_a_clear_range_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(BrokenFileError, match=message):
        read(tmp_path, "a.tif", Image.fromarray(values), (1, 8, 8))
    values[0, 0] = np.nan if values.dtype.kind == "f" else 0
    Image.fromarray(values).save(tmp_path / "a.tif")
    images = ImageFiles([tmp_path / "a.tif"], (1, 8, 8), value_range=[-1, 70_000])
    if values.dtype.kind == "f":
        with pytest.raises(BrokenFileError, match="a gray value is not a number"):
            images.read(0)
    else:
        assert images.read(0).shape == (1, 8, 8)


@pytest.mark.parametrize("value_range", [[0], [3, 3], [0, 1, 2]])
def test_an_invalid_range_of_values_is_refused(tmp_path: Path, value_range: list[float]) -> None:
    with pytest.raises(InputError, match=r"value_range: expected the values of black and white, such as \[0, 4095\]"):
        ImageFolder(str(tmp_path), value_range=value_range)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK"])
def test_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    assert (read(tmp_path, name, image, (3, 8, 8)) == 255).all()


def test_a_wide_image_is_cropped_around_its_center_and_not_squeezed(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    actual = read(tmp_path, "a.png", Image.fromarray(pixels), (3, 10, 10)).int()
    assert (actual - 200).abs().max() < 20  # the filter rings at the edge of the crop


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera's top is on the right: to be turned by 90 degrees, clockwise
    actual = read(tmp_path, "a.jpg", Image.fromarray(pixels), (3, 16, 16), exif=exif, quality=95)
    assert actual[:, :, 10:].float().mean() > 250
    assert actual[:, :, :6].float().mean() < 5


def test_a_large_jpeg_is_read_like_a_large_png(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:600, :800]
    image = Image.fromarray(np.stack([rows // 3, columns // 4, (rows + columns) // 8], 2).astype(np.uint8))
    jpeg = read(tmp_path, "a.jpg", image, (3, 32, 32), quality=95).float()
    png = read(tmp_path, "a.png", image, (3, 32, 32)).float()
    assert (jpeg - png).abs().mean() < 2


# Splits and facts


def test_facts_are_known_before_an_image_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_folder(tmp_path)
    monkeypatch.setattr(Image, "open", None)
    data = ImageFolder(str(tmp_path), size=[10, 20], gray=True)
    assert data.input_shape == (1, 10, 20)
    assert (data.num_classes, data.class_names) == (3, ["cat", "dog", "owl"])


def test_the_former_option_grey_still_works(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    with pytest.warns(RenamedOptionWarning, match="^the option grey is now called gray; replace it by gray: true$"):
        assert ImageFolder(str(tmp_path), grey=True).input_shape == (1, 64, 64)
    assert ImageFolder(str(tmp_path), grey=False).input_shape == (3, 64, 64)  # false was the default


def test_splits_are_those_of_the_files(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    data = ready(tmp_path)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [36, 12, 12]
    for split in data.splits.values():
        inputs, targets = split[torch.arange(len(split))]
        for image, target, index in zip(inputs, targets, split.indices.tolist(), strict=True):
            path = data.folders.files[index]
            assert path.parent.name == ("cat", "dog", "owl")[target]
            assert torch.equal(image, ImageFiles([path], (3, 16, 16)).read(0))


def test_statistics_are_of_the_training_split_alone(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    data = ready(tmp_path, val_size=0.4)
    train = data.splits["train"].inputs[data.splits["train"].indices].double()
    assert data.mean == pytest.approx(train.mean((0, 2, 3)).tolist(), rel=1e-9)
    assert data.std == pytest.approx(train.std((0, 2, 3), correction=0).tolist(), rel=1e-9)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_does_not_fit_in_memory_makes_the_same_batches(tmp_path: Path, workers: int) -> None:
    write_image_folder(tmp_path)
    kept, read_per_batch = ready(tmp_path), ready(tmp_path, memory_budget=1e-6, num_workers=workers)
    assert isinstance(kept.splits["train"].inputs, torch.Tensor)
    assert isinstance(read_per_batch.splits["train"].inputs, ImageFiles)
    assert read_per_batch.mean == pytest.approx(kept.mean, rel=1e-9)
    assert read_per_batch.std == pytest.approx(kept.std, rel=1e-9)
    for name in ("train", "val", "test", "predict"):
        batches = [list(getattr(data, f"{name}_dataloader")()) for data in (kept, read_per_batch)]
        assert len(batches[0]) == len(batches[1]) > 0
        for (inputs, targets), (other, other_targets) in zip(*batches, strict=True):
            assert torch.equal(inputs, other)
            assert torch.equal(targets, other_targets)
    image, target = read_per_batch.splits["val"][3]
    assert torch.equal(image, kept.splits["val"][3][0])
    assert target == kept.splits["val"][3][1]


def test_the_budget_is_of_all_images_as_they_are_kept(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    needed = 60 * 3 * 16 * 16 / 1e9
    assert isinstance(ready(tmp_path, memory_budget=needed).splits["train"].inputs, torch.Tensor)
    assert isinstance(ready(tmp_path, memory_budget=needed * 0.999).splits["train"].inputs, ImageFiles)


@pytest.mark.parametrize("size", [0, [16], [16, 16, 3], [16, -1]])
def test_an_invalid_size_is_refused(tmp_path: Path, size: Any) -> None:
    write_image_folder(tmp_path)
    with pytest.raises(InputError, match="size: expected the side length of a square or"):
        ImageFolder(str(tmp_path), size=size)


# Broken images


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def not_an_image(path: Path) -> None:
    path.write_text("<html>not found</html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = [
    (cut_off, "(?i:truncated)"),
    (not_an_image, "not an image, or a broken one"),
    (empty, "not an image, or a broken one"),
    (gone, "No such file"),
]


@pytest.mark.parametrize("budget", [2.0, 0.0])
@pytest.mark.parametrize("name", ["dog/03.jpg", "dog/04.png"])
@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_broken_image_is_reported(
    tmp_path: Path, damage: Callable[[Path], None], message: str, name: str, budget: float
) -> None:
    write_image_folder(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(InputError, match=rf"1 of 60 images cannot be read; .*skip_broken true\n.*{name}: .*{message}"):
        ready(tmp_path, memory_budget=budget)


@pytest.mark.parametrize("budget", [2.0, 0.0])
def test_broken_images_are_skipped_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: float
) -> None:
    write_image_folder(tmp_path)
    complete = ready(tmp_path)
    cut_off(tmp_path / "dog" / "03.jpg")
    not_an_image(tmp_path / "owl" / "10.png")
    data = ready(tmp_path, skip_broken=True, memory_budget=budget)
    output = capsys.readouterr().out
    assert "2 of 60 images cannot be read, skipped:" in output
    assert str(tmp_path / "owl" / "10.png") in output
    for name, split in data.splits.items():
        kept = [i for i in complete.splits[name].indices.tolist() if i not in (23, 50)]
        assert split.indices.tolist() == kept  # the others stay where they were
        assert torch.equal(split[torch.arange(len(split))][0], complete.splits[name].inputs[kept])
    train = data.splits["train"].inputs[data.splits["train"].indices].double()
    assert data.mean == pytest.approx(train.mean((0, 2, 3)).tolist(), rel=1e-9)


def test_an_image_that_breaks_during_the_run_is_an_input_error(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    data = ready(tmp_path, memory_budget=0.0)
    not_an_image(tmp_path / "cat" / "03.jpg")
    with pytest.raises(InputError, match=r"cat/03\.jpg can no longer be read"):
        list(data.train_dataloader()) + list(data.val_dataloader()) + list(data.test_dataloader())


# The checkpoint


def test_a_checkpoint_contains_the_statistics_and_fixes_the_classes(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "a")
    write_image_folder(tmp_path / "b", ("cat", "cow", "owl"))
    state = ready(tmp_path / "a").state_dict()
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state
    with pytest.raises(InputError, match="trained on the classes cat, dog, owl; these data have cat, cow, owl"):
        ready(tmp_path / "b").load_state_dict(state)
    other = ready(tmp_path / "a", split_seed=1)
    assert other.mean != state["mean"]
    other.load_state_dict(state)
    assert (other.mean, other.std) == (state["mean"], state["std"])


@pytest.mark.slow
def test_the_real_data(real_data: Path, tmp_path: Path) -> None:
    with tarfile.open(real_data / "cifar10_jpg_imagefolder.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    data = ready(tmp_path / "cifar10_jpg", size=32, val_size=0.1)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [45000, 5000, 10000]
    # Near those of CIFAR-10 itself, of which these images are a lossy copy.
    assert [mean / 255 for mean in data.mean] == pytest.approx([0.4914, 0.4822, 0.4465], abs=3e-3)
    assert [std / 255 for std in data.std] == pytest.approx([0.2470, 0.2435, 0.2616], abs=3e-3)
    assert data.class_counts == [4500] * 10
