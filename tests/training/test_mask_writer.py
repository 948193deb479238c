import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn

from litnets.data import Digits, Shapes
from litnets.errors import InputError
from litnets.tasks import Classifier, Segmenter
from litnets.training.mask_writer import MaskWriter, overlay_image, unique_stems, voc_palette

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

NAMES = ["red", "green", "blue"]


def write_photo(path: Path, height: int, width: int) -> np.ndarray:
    """Write an image of noise, and return its most intense color channel, `(height, width)`."""
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels.argmax(2)


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def predict(writer: MaskWriter, datamodule: Shapes) -> None:
    """Predict with a network that assigns each pixel its most intense color channel."""
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[writer], **quiet)
    model = Segmenter(nn.Identity(), 3, 255, class_names=NAMES)
    trainer.predict(model, datamodule, return_predictions=False)


def shapes(**arguments) -> Shapes:
    datamodule = Shapes(size=16, eval_batch_size=3, **arguments)
    datamodule.load_state_dict({"mean": [0.0] * 3, "std": [255.0] * 3})
    return datamodule


def test_masks_have_the_names_and_sizes_of_the_images(tmp_path):
    expected = {
        "a": write_photo(tmp_path / "new" / "a.png", 40, 21),
        "b.bmp": write_photo(tmp_path / "new" / "b.bmp", 9, 30),
        "b.png": write_photo(tmp_path / "new" / "b.png", 16, 16),
        "deep/c": write_photo(tmp_path / "new" / "deep" / "c.png", 17, 5),
    }
    predict(MaskWriter(tmp_path / "out.csv"), shapes(predict_path=str(tmp_path / "new")))
    for stem, mask in expected.items():
        image = read(tmp_path / "out" / "masks" / f"{stem}.png")
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), mask)
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette(3).numpy()[mask])
        assert read(tmp_path / "out" / "overlays" / f"{stem}.jpg").size == image.size

    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["a.png", "b.bmp", "b.png", "deep/c.png"]
    assert [row["index"] for row in rows] == list("0123")
    for row, (stem, mask) in zip(rows, expected.items(), strict=True):
        assert row["mask"] == f"out/masks/{stem}.png"
        assert row["overlay"] == f"out/overlays/{stem}.jpg"
        assert 1 / 3 < float(row["probability"]) < 1
        fractions = [float(row[f"fraction_{name}"]) for name in NAMES]
        np.testing.assert_allclose(fractions, np.bincount(mask.flat, minlength=3) / mask.size, rtol=1e-6)
    classes = (tmp_path / "out" / "classes.csv").read_text().splitlines()
    assert classes == ["index,class,color", "0,red,#000000", "1,green,#800000", "2,blue,#008000"]


def test_the_test_split_is_predicted_without_new_images(tmp_path):
    predict(MaskWriter(tmp_path / "predictions.csv"), shapes(samples=20))
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + 4
    assert len(list((tmp_path / "predictions" / "masks").iterdir())) == 4


def test_an_overlay_is_the_mean_of_the_image_and_the_colors_except_for_class_0():
    palette = torch.tensor([[0, 0, 0], [200, 100, 0]], dtype=torch.uint8)
    mask = torch.tensor([[0, 1]], dtype=torch.uint8)
    colored = overlay_image(torch.tensor([[[10, 20]], [[30, 40]], [[50, 60]]], dtype=torch.uint8), mask, palette)
    assert np.array(colored).tolist() == [[[10, 30, 50], [110, 70, 30]]]
    gray = overlay_image(torch.tensor([[[10, 20]]], dtype=torch.uint8), mask, palette)
    assert np.array(gray).tolist() == [[[10, 10, 10], [110, 60, 10]]]


def test_the_palette_is_that_of_pascal_voc():
    colors = voc_palette(255)
    assert colors[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colors[[15, 20]].tolist() == [[192, 128, 128], [0, 64, 128]]  # person, television
    assert len(colors.unique(dim=0)) == 255


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.png", "b.jpg"], ["a", "b"]),
        (["a.png", "a.jpg", "x/a.jpg"], ["a.png", "a.jpg", "x/a"]),
        (["../a.png", "/etc/b.png", "x/../../c.png"], ["a", "b", "c"]),
        (["image_0", "scan.1.png"], ["image_0", "scan.1"]),
        (["a.jpg", "a.png", "a.png.bmp", "a.png_2.png"], ["a.jpg", "a.png", "a.png_2", "a.png_2_3"]),
        (["../x/a.png", "../y/a.png"], ["a.png", "a.png_1"]),
    ],
)
def test_each_file_has_its_own_name(names, stems):
    assert unique_stems(names) == stems


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    write_photo(tmp_path / "new.png", 8, 8)
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(InputError, match=r"out.*cannot be written"):
        predict(MaskWriter(tmp_path / "out.csv"), shapes(predict_path=str(tmp_path / "new.png")))


def test_data_without_tiles_are_refused(tmp_path):
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[MaskWriter(tmp_path / "x")]
    )
    with pytest.raises(InputError, match="Digits yields no tiles"):
        trainer.predict(Classifier(nn.Flatten(), 64), Digits(), return_predictions=False)
