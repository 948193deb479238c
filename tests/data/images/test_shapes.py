import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import jaccard_score

from litnets.data import Shapes
from litnets.data.images.shapes import generate_shapes


def mean_iou_of_single_pixels(train: int, test: int, pixels: int) -> float:
    """Return the mean IoU of gradient boosting that sees one pixel at a time."""
    images, masks = generate_shapes(train + test, 64, 20.0)
    colors, classes = images.movedim(1, 3).reshape(-1, 3).numpy(), masks.flatten().numpy()
    cut = train * 64 * 64
    chosen = np.random.default_rng(0).choice(cut, pixels, replace=False)
    # Equal weights of the classes, as otherwise it predicts the background everywhere.
    classifier = HistGradientBoostingClassifier(class_weight="balanced", random_state=0, max_iter=30)
    classifier.fit(colors[chosen], classes[chosen])
    return float(jaccard_score(classes[cut:], classifier.predict(colors[cut:]), average="macro"))


def test_a_color_tells_nothing_about_the_class() -> None:
    assert mean_iou_of_single_pixels(30, 5, pixels=3000) < 0.5


@pytest.mark.slow
def test_a_color_tells_nothing_about_the_class_however_many_are_seen() -> None:
    assert mean_iou_of_single_pixels(2000, 100, pixels=1_000_000) < 0.25


def test_images_are_the_same_every_time_and_all_differ() -> None:
    images, masks = generate_shapes(300, 32, 20.0)
    more = generate_shapes(600, 32, 20.0)
    assert torch.equal(images, more[0][:300])
    assert torch.equal(masks, more[1][:300])
    assert len(more[0].flatten(1).unique(dim=0)) == 600


def test_classes_are_equally_frequent_and_colors_differ_within_an_image() -> None:
    images, masks = generate_shapes(320, 64, 0.0)
    frequency = masks.flatten().bincount() / masks.numel()
    assert len(frequency) == 4
    torch.testing.assert_close(frequency[1:], frequency[1:].mean().expand(3), rtol=0.1, atol=0)
    for image, mask in zip(images[:50].movedim(1, 3), masks[:50], strict=True):
        background = image[mask == 0].unique(dim=0)
        assert len(background) == 1
        assert not (image[mask > 0] == background).all(1).any()


def test_noise_has_the_standard_deviation_asked_for() -> None:
    clean, noisy = (generate_shapes(64, 64, noise)[0].float() for noise in (0.0, 12.0))
    assert (noisy - clean).std() == pytest.approx(12, rel=0.02)


def test_defaults() -> None:
    data = Shapes(samples=140, val_size=20, test_size=20)
    data.setup()
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 100, "val": 20, "test": 20}
    assert data.input_shape == (3, 64, 64)
    assert data.class_names[0] == "background"
    assert sum(data.class_counts) == 100 * 64 * 64
