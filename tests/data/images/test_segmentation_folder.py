import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from litnets.data import SegmentationFolder
from litnets.data.images.crops import IGNORE_INDEX, MaskedCrops, TiledImages
from litnets.errors import InputError
from tests.helpers.tiny_masks import SIZES, image_and_mask, write_masked_images


def read(**arguments: Any) -> SegmentationFolder:
    """Return the data in the working directory, once they are read."""
    data = SegmentationFolder(**{"root": ".", "batch_size": 4} | arguments)
    data.setup()
    return data


def pairs_of(data: SegmentationFolder, split: str = "train") -> MaskedCrops:
    part = data.splits[split]
    assert isinstance(part, MaskedCrops)
    return part


def save_mask(number: int, pixels: Any, mode: str | None = None, name: str | None = None) -> None:
    Image.fromarray(np.asarray(pixels), mode).save(Path("masks") / (name or f"{number}.png"))


def test_images_and_masks_keep_their_size_and_values() -> None:
    write_masked_images(Path())
    data = read()
    assert data.class_names == ["0", "1", "2"]
    assert data.num_classes == 3
    assert data.input_shape == (3, 50, 50)
    pairs = pairs_of(data).pairs
    for number, path in enumerate(data.files.images):
        image, mask = image_and_mask(int(path.stem), *SIZES[int(path.stem)])
        assert torch.equal(pairs.images[number], torch.from_numpy(image).movedim(2, 0))
        assert torch.equal(pairs.masks[number], torch.from_numpy(mask))
        assert pairs.counts[number].tolist() == np.bincount(mask.flatten()).tolist()
    assert sum(len(pairs_of(data, part).members) for part in data.splits) == len(SIZES)


@pytest.mark.parametrize(
    ("values", "ignore_value", "names"),
    [
        ((0, 1), None, ["background", "foreground"]),
        ((0, 255), None, ["background", "foreground"]),
        ((0, 1, 2), None, ["0", "1", "2"]),
        ((1, 2, 3), 0, ["1", "2", "3"]),
        ((0, 1, 3), 2, ["0", "1", "3"]),
        ((0, 1, 255), 7, None),
    ],
)
def test_values_of_classes(values: tuple[int, ...], ignore_value: int | None, names: list[str] | None) -> None:
    write_masked_images(Path(), SIZES[:6], values)
    if names is None:
        with pytest.raises(InputError, match="has the value 255, but no mask has 2, 3, 4, 5, 6 and 247 more"):
            read(ignore_value=ignore_value)
        return
    data = read(ignore_value=ignore_value)
    assert data.class_names == names
    for number, path in enumerate(data.files.images):
        mask = image_and_mask(int(path.stem), *SIZES[int(path.stem)], num_classes=len(values))[1]
        assert torch.equal(pairs_of(data).pairs.masks[number], torch.from_numpy(mask))


@pytest.mark.parametrize("ignore_value", [None, 255])
def test_pixels_that_are_not_labeled_do_not_count(ignore_value: int | None) -> None:
    write_masked_images(Path(), [(20, 20)] * 6, (0, 1, 255))
    data = read(ignore_value=ignore_value, val_size=1, test_size=1)
    assert data.num_classes == 2
    masks = torch.cat([masks for _, masks in data.train_dataloader()])
    ignored = torch.stack(
        [torch.from_numpy(image_and_mask(i, 20, 20)[1]) == 2 for i in pairs_of(data).members.tolist()]
    )
    assert (masks == IGNORE_INDEX).sum() == ignored.sum()
    assert sum(data.class_counts) == (~ignored).sum()


@pytest.mark.parametrize("kind", ["1", "L", "LA", "P", "RGB", "gif", "bmp", "tif", "pgm"])
def test_files_of_masks(kind: str) -> None:
    write_masked_images(Path(), SIZES[:6], (0, 1))
    for number, size in enumerate(SIZES[:6]):
        mask = Image.fromarray(image_and_mask(number, *size, num_classes=2)[1])
        Path(f"masks/{number}.png").unlink()
        if kind == "P":
            mask.putpalette([200, 100, 0, 0, 100, 200])
        elif kind == "1":
            mask = mask.point([0, 255, *[0] * 254]).convert("1")
        elif kind in ("LA", "RGB"):
            mask = mask.convert(kind)
        mask.save(f"masks/{number}.{kind if kind.islower() else 'png'}")
    data = read()
    assert data.class_names == ["background", "foreground"]
    for number, path in enumerate(data.files.images):
        expected = image_and_mask(int(path.stem), *SIZES[int(path.stem)], num_classes=2)[1]
        assert torch.equal(pairs_of(data).pairs.masks[number], torch.from_numpy(expected))


def test_images_may_share_a_mask() -> None:
    write_masked_images(Path(), SIZES[:5] + SIZES[:1])
    Path("masks/5.png").unlink()
    Path("masks/5.png").symlink_to("0.png")
    pairs = pairs_of(read()).pairs
    assert torch.equal(pairs.masks[5], pairs.masks[0])


def test_colored_masks() -> None:
    write_masked_images(Path(), SIZES[:6])
    colors = np.array([[128, 64, 128], [0, 0, 70], [244, 35, 232]], np.uint8)
    Path("class_names.txt").write_text("the road 128 64 128\ncar, 0, 0, 70\n\nsidewalk\t244 35 232\n")
    for number, size in enumerate(SIZES[:6]):
        save_mask(number, colors[image_and_mask(number, *size)[1]])
    data = read()
    assert data.class_names == ["the road", "car", "sidewalk"]
    mask = pairs_of(data).pairs.masks[0]
    assert torch.equal(mask, torch.from_numpy(image_and_mask(0, *SIZES[0])[1]))
    save_mask(2, np.full((*SIZES[2], 3), 9, np.uint8))
    with pytest.raises(InputError) as caught:
        read()
    assert lines(caught) == [
        "1 of 6 images cannot be read; fix or remove them, or skip them with --data.skip_broken true",
        "  images/2.png: its mask masks/2.png: the color (9, 9, 9) of 192 pixels is not in class_names.txt",
    ]


def test_numbers_in_masks_beside_colored_ones() -> None:
    write_masked_images(Path(), SIZES[:6])
    Path("class_names.txt").write_text("road 128 64 128\ncar 0 0 70\nsidewalk 244 35 232\n")
    mask = image_and_mask(2, *SIZES[2])[1]
    mask[:3] = 9
    save_mask(2, mask)
    with pytest.raises(InputError, match=r"^masks/2\.png has the value 9\n  expected 0 to 2 for the classes road, car"):
        read()
    masks = pairs_of(read(ignore_value=9)).pairs.masks
    assert (masks[2][:3] == 255).all()
    with pytest.raises(InputError, match=r"^ignore_value: 1 is the number of the class car in class_names\.txt"):
        read(ignore_value=1)


def test_names_of_classes_that_no_mask_has_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path(), SIZES[:6])
    Path("class_names.txt").write_text("sky\nroad\ncar\nbicycle\n")
    data = read()
    assert data.class_names == ["sky", "road", "car", "bicycle"]
    assert data.class_counts[3] == 0
    assert "data: the training split has no pixel of bicycle" in capsys.readouterr().out


def test_names_of_black_and_white_masks() -> None:
    write_masked_images(Path(), SIZES[:6], (0, 255))
    Path("class_names.txt").write_text("skin\nlesion\n")
    data = read()
    assert data.class_names == ["skin", "lesion"]
    assert data.class_counts[1] > 0


@pytest.mark.parametrize("layout", ["train/images", "images/train"])
def test_splits_in_folders(layout: str) -> None:
    counts = {"Train": 5, "valid": 2, "test": 3}
    for start, (name, count) in enumerate(counts.items()):
        write_masked_images(Path(name), SIZES[:count], start=10 * start)
        if layout == "images/train":
            for kind in ("images", "masks"):
                Path(kind).mkdir(exist_ok=True)
                Path(name, kind).rename(Path(kind, name))
            Path(name).rmdir()
    data = read(val_size=0.3, test_size=0.3)
    stems = {
        part: {int(data.files.images[i].stem) // 10 for i in pairs_of(data, part).members.tolist()}
        for part in data.splits
    }
    assert stems == {"train": {0}, "val": {1}, "test": {2}}
    assert [len(pairs_of(data, part).members) for part in data.splits] == [5, 2, 3]


def test_subfolders_and_suffixes_of_masks() -> None:
    write_masked_images(Path("x"), SIZES[:6], mask_suffix="_mask")
    for kind in ("images", "masks"):
        Path(kind).mkdir()
        Path("x", kind).rename(Path(kind, "a"))
    data = read(mask_suffix="_mask")
    assert [path.as_posix() for path in data.files.masks[:2]] == ["masks/a/0_mask.png", "masks/a/1_mask.png"]


@pytest.mark.parametrize(
    ("crop_size", "sizes", "shape", "line"),
    [
        (None, [(20, 30)] * 6, (20, 30), ""),
        (None, [(20, 30), (40, 10)] * 3, (40, 30),
         "crops of 30 x 40 pixels from images of 10 x 20 to 30 x 40 ("),
        (None, [(20, 300)] * 6, (20, 256), "crops of 256 x 20 pixels from images of 300 x 20 (--data.crop_size)\n"),
        (16, [(20, 30)] * 6, (16, 16), "crops of 16 x 16 pixels"),
        ([8, 12], [(20, 30)] * 6, (8, 12), "crops of 12 x 8 pixels"),
    ],
)  # fmt: skip
def test_size_of_the_crops(
    crop_size: Any, sizes: Any, shape: tuple[int, int], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_masked_images(Path(), sizes)
    data = read(crop_size=crop_size)
    assert data.input_shape == (3, *shape)
    printed = capsys.readouterr().out
    assert line in printed
    assert bool(line) == ("crops of" in printed)
    assert next(iter(data.train_dataloader()))[0].shape[1:] == (3, *shape)


def test_gray_images() -> None:
    write_masked_images(Path(), SIZES[:6])
    data = read(gray=True, crop_size=8)
    assert data.input_shape == (1, 8, 8)
    assert next(iter(data.val_dataloader()))[0].shape[1:] == (1, 8, 8)


def test_files_that_do_not_fit_in_memory_give_the_same_batches() -> None:
    write_masked_images(Path(), values=(0, 255))
    kept, read_again = (read(crop_size=16, memory_budget=budget) for budget in (1, 6e-6))
    assert kept.mean == read_again.mean
    assert len(pairs_of(read_again).pairs.masks.cache) < len(SIZES)  # type: ignore[attr-defined]
    for split in ("train", "val", "test"):
        for batch, other in zip(*(getattr(data, f"{split}_dataloader")() for data in (kept, read_again)), strict=True):
            assert torch.equal(batch[0], other[0])
            assert torch.equal(batch[1], other[1])


@pytest.mark.parametrize("memory_budget", [1, 0])
def test_data_that_were_read_can_be_pickled(memory_budget: float) -> None:
    """`ddp_spawn` sends them to its processes."""
    write_masked_images(Path(), values=(0, 255))
    data = read(crop_size=16, memory_budget=memory_budget)
    again = pickle.loads(pickle.dumps(data))
    for batch, other in zip(data.val_dataloader(), again.val_dataloader(), strict=True):
        assert all(map(torch.equal, batch, other))


def test_broken_files_are_skipped_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path())
    Path("images/3.png").write_bytes(b"no image")
    save_mask(5, np.zeros((3, 3), np.uint8))
    data = read(skip_broken=True)
    members = torch.cat([pairs_of(data, part).members for part in data.splits]).tolist()
    assert {data.files.images[i].stem for i in members} == {"0", "1", "2", "4", "6", "7", "8", "9"}
    assert "2 of 10 images cannot be read, skipped:" in capsys.readouterr().out


def test_masks_without_a_labeled_pixel_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path())
    save_mask(7, np.full(SIZES[7], 255, np.uint8))
    data = read()
    members = torch.cat([pairs_of(data, part).members for part in data.splits]).tolist()
    assert len(members) == 9
    assert "1 of 10 masks left out: no labeled pixel (masks/7.png)" in capsys.readouterr().out


def test_copies_in_several_splits_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path("train"), SIZES[:4])
    write_masked_images(Path("test"), SIZES[:1])
    Image.fromarray(2 - image_and_mask(0, *SIZES[0])[1]).save("test/masks/0.png")
    read(val_size=1)
    assert "1 of 5 images are copies of others, 1 in another split" in capsys.readouterr().out


def test_a_changed_mask_is_noticed() -> None:
    write_masked_images(Path("data"))
    before = read(root="data")
    after = SegmentationFolder("data")
    after.recorded_split = before.split_record
    Image.fromarray(2 - image_and_mask(4, *SIZES[4])[1]).save("data/masks/4.png")
    Path("data/images/1.png").unlink()
    Path("data/masks/1.png").unlink()
    after.setup()
    assert str(after.data_changes) == "1 file changed (images/4.png), 1 missing"


def test_new_images_are_read_without_the_training_files() -> None:
    write_masked_images(Path("old"), values=(0, 255))
    trained = read(root="old", crop_size=16)
    state = trained.state_dict()
    write_masked_images(Path("new"), SIZES[:3])
    data = SegmentationFolder("missing", predict_path="new/images")
    data.load_state_dict(state)
    tiles = data.load_predict(Path("new/images"))
    assert isinstance(tiles, TiledImages)
    assert data.input_shape == trained.input_shape
    assert data.class_names == ["background", "foreground"]
    assert [tuple(size) for size in tiles.sizes.tolist()] == SIZES[:3]
    assert data.mean == trained.mean


def labeled(path: str, state: dict[str, Any], **arguments: Any) -> MaskedCrops:
    """Return new images with masks, as `test --on` reads them."""
    data = SegmentationFolder("missing", **arguments)
    data.evaluate_on(Path(path), state["mask_values"]["class_names"])
    data.load_state_dict(state)
    loader = data.test_dataloader()
    assert data.splits["test"] is loader.dataset
    return pairs_of(data, "test")


def test_labeled_images_are_encoded_as_in_training(capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path("old"), values=(0, 255))
    state = read(root="old", crop_size=16).state_dict()
    write_masked_images(Path("new"), SIZES[:3], values=(255,))
    crops = labeled("new", state)
    assert len(crops.members) == 3
    assert [crops.pairs.masks[i].unique().tolist() for i in range(3)] == [[1]] * 3
    assert "data: no sample of background" in capsys.readouterr().out
    write_masked_images(Path("other"), SIZES[:3], values=(0, 1))
    with pytest.raises(InputError, match=r"other/masks/0\.png has the value 1 \(one of 3 masks with such"):
        labeled("other", state)


def test_options_are_checked() -> None:
    for crop_size in (0, [1, 2, 3], [4, 0]):
        with pytest.raises(InputError, match="crop_size: expected the side length of a square or"):
            SegmentationFolder(".", crop_size=crop_size)
    with pytest.raises(InputError, match="crop_size: expected at most 89,478,485 pixels in a crop"):
        SegmentationFolder(".", crop_size=1_000_000_000)
    for value in (-1, 256):
        with pytest.raises(InputError, match="ignore_value: expected a mask value from 0 to 255"):
            SegmentationFolder(".", ignore_value=value)


def lines(caught: pytest.ExceptionInfo[InputError]) -> list[str]:
    return str(caught.value).split("\n")


def rename(old: str, new: str) -> None:
    Path(old).rename(new)


def class_names(text: str) -> Callable[[], Any]:
    """Return a function that writes class_names.txt."""
    return lambda: Path("class_names.txt").write_text(text)


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "image without mask": (
        lambda: Path("masks/3.png").unlink(),
        r"1 of 6 images have no mask, the first is images/3\.png\n  expected masks/3\.png$",
    ),
    "mask without image": (
        lambda: Path("images/3.png").unlink(),
        r"1 of 6 masks have no image, the first is masks/3\.png\n  expected an image of the same name in images; add",
    ),
    "sizes that differ": (
        lambda: save_mask(2, np.zeros((12, 16), np.uint8)),
        r"\n  images/2\.png: 12 x 16 pixels, but its mask masks/2\.png has 16 x 12$",
    ),
    "value without a class": (
        lambda: (Path("class_names.txt").write_text("a\nb"), save_mask(1, np.full(SIZES[1], 7, np.uint8))),
        r"^masks/0\.png has the value 2 \(one of 6 masks with such values\)\n  expected 0 and 1 for the classes a, b, "
        r"255 for pixels that are not labeled; resize masks only with nearest-neighbor interpolation$",
    ),
    "gap in the values": (
        lambda: save_mask(1, np.full(SIZES[1], 7, np.uint8)),
        r"^masks/1\.png has the value 7, but no mask has 3, 4, 5, 6\n  number the classes consecutively, or list them",
    ),
    "resized by interpolation": (
        lambda: save_mask(4, np.linspace(0, 255, 2500).astype(np.uint8).reshape(50, 50)),
        r"^masks/4\.png and the other masks have 255 different values\n  are they photos, or were they resized\? If th",
    ),
    "no image": (lambda: [path.unlink() for path in Path("images").iterdir()], r"^images contains no image \(\.bmp"),
    "no folder of masks": (
        lambda: rename("masks", "labels"),
        r"^\. has only the folders images, labels; expected the folder masks in it\n  each image",
    ),
    "empty folder": (
        lambda: (rename("images", "../images"), rename("masks", "../masks")),
        r"^\. has no subfolder; expected the folder images in it\n  each image",
    ),
    "no mask": (lambda: [path.unlink() for path in Path("masks").iterdir()], "^6 of 6 images have no mask"),
    "colors": (
        lambda: save_mask(2, np.arange(16 * 12 * 3, dtype=np.uint8).reshape(16, 12, 3)),
        r"its mask masks/2\.png: colors instead of class numbers; add the color of each class to class_names\.txt",
    ),
    "16 bits": (
        lambda: save_mask(2, np.zeros(SIZES[2], np.uint16)),
        r"its mask masks/2\.png: more than 8 bits per pixel; save the number of the class, up to 254, in 8 bits$",
    ),
    "floats": (
        lambda: (Path("masks/2.png").unlink(), save_mask(2, np.zeros(SIZES[2], np.float32), name="2.tif")),
        r"its mask masks/2\.tif: floats; save the number of the class in 8 bits$",
    ),
    "broken mask": (
        lambda: Path("masks/2.png").write_bytes(Path("masks/2.png").read_bytes()[:50]),
        r"\n  images/2\.png: its mask masks/2\.png: \S+",
    ),
    "mask that is no image": (
        lambda: Path("masks/2.png").write_text("text"),
        r"its mask masks/2\.png: not an image, or a broken one$",
    ),
    "broken image": (
        lambda: Path("images/2.png").write_text("text"),
        r"\n  images/2\.png: not an image, or a broken one$",
    ),
    "nothing labeled": (
        lambda: [save_mask(i, np.full(size, 9, np.uint8)) for i, size in enumerate(SIZES[:6])],
        r"^masks: no labeled pixel in 6 masks, besides 9 for pixels",
    ),
    "one class": (
        lambda: [save_mask(i, np.zeros(size, np.uint8)) for i, size in enumerate(SIZES[:6])],
        r"^masks: only the value 0 in 6 masks, besides 255 for pixels that are not labeled; expected at least two",
    ),
    "case": (
        lambda: (rename("images/2.png", "images/A.png"), rename("masks/2.png", "masks/a.png")),
        r"the first is images/A\.png\n  expected masks/A\.png; masks/a\.png differs only in case$",
    ),
    "suffix": (
        lambda: rename("masks/2.png", "masks/2_mask.png"),
        r"expected masks/2\.png; if masks/2_mask\.png is the mask, set --data\.mask_suffix _mask$",
    ),
    "two images of one name": (
        lambda: Image.open("images/2.png").save("images/2.jpg"),
        r"^images/2\.jpg and images/2\.png differ only in their suffixes; rename or remove one of them$",
    ),
    "two masks of one name": (
        lambda: Image.open("masks/2.png").save("masks/2.bmp"),
        r"^masks/2\.bmp and masks/2\.png differ only in their suffixes",
    ),
    "too many pixels": (
        lambda: save_mask(2, np.zeros((100, 100), np.uint8)),
        r"its mask masks/2\.png: 100 x 100 pixels; expected at most 3,000; if you trust the image, raise",
    ),
    "JPEG": (
        lambda: (Image.open("masks/2.png").save("masks/2.jpg"), Path("masks/2.png").unlink()),
        r"^1 of 6 masks are JPEG or WebP files, the first is masks/2\.jpg\n  their compression changes values; save",
    ),
    "JPEG with another suffix": (
        lambda: Image.open("masks/2.png").save("masks/2.png", "JPEG"),
        r"its mask masks/2\.png: JPEG compression changes values; save masks as PNG$",
    ),
    "too few names": (
        class_names("only\n"),
        r"^class_names\.txt: expected 2 to 255 classes, one per line, got 1$",
    ),
    "a name twice": (
        class_names("a\nb\na\n"),
        r"^class_names\.txt: a occurs twice; expected one class per line$",
    ),
    "names that look the same": (
        class_names("caf\u00e9\ncafe\u0301\n"),
        r"^class_names\.txt: two classes are named 'cafe\u0301': .* look the same",
    ),
    "a control character": (
        class_names("a\nb\0c\n"),
        r"^class_names\.txt: 'b\\x00c' contains a control character; expected one class per line$",
    ),
    "a color twice": (
        class_names("a 1 2 3\nb 1 2 3\n"),
        r"^class_names\.txt: \(1, 2, 3\) occurs twice",
    ),
    "some colors": (
        class_names("a 1 2 3\nb\n"),
        r"^class_names\.txt: b has no color, but others do; expected `name red green blue` in each line$",
    ),
    "color out of range": (
        class_names("a 1 2 3\nb 1 2 256\n"),
        r"^class_names\.txt: expected colors from 0 to 255$",
    ),
    "names in another encoding": (
        lambda: Path("class_names.txt").write_bytes(b"stra\xdfe\nauto"),
        r"^class_names\.txt cannot be read: ",
    ),
    "one class in training": (
        lambda: (
            [rename(kind, f"old_{kind}") for kind in ("images", "masks")],
            write_masked_images(Path("train"), SIZES[:3], values=(0,)),
            write_masked_images(Path("test"), SIZES[:3], start=5),
        ),
        r"^\.: the masks of the training split have only the class 0; expected at least two$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_in_two_lines(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    write_masked_images(Path(), SIZES[:6])
    spoil, message = BAD[case]
    spoil()
    options = {"too many pixels": {"max_pixels": 3000}, "nothing labeled": {"ignore_value": 9}}
    with pytest.raises(InputError) as caught:
        read(**options.get(case, {}))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert len(lines(caught)) <= 2


def test_a_folder_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match=r"^nowhere does not exist; set --data\.root to a folder that has the folders"):
        read(root="nowhere")
