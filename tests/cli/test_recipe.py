"""The choices of the default recipe, as functions of what is known about the data."""

from dataclasses import replace

import pytest

from litnets.cli import recipe
from litnets.cli.recipe import Facts

TEXTS = Facts("cnn1d", "tokens", 3000, has_classes=True)
PHOTOS = Facts("cnn", "images", 200, has_classes=True, image_side=32, is_photo=True)
FORECAST = Facts("linear", "windows", 300)


@pytest.mark.parametrize(("samples", "size"), [(1, 8), (36, 8), (270, 16), (1000, 64), (6400, 128), (10**6, 128)])
def test_batches_grow_with_the_data(samples: int, size: int) -> None:
    assert recipe.batch_size(replace(TEXTS, samples=samples)) == size


@pytest.mark.parametrize("inputs", ["rows", "images", "sequences", "tokens", "windows"])
def test_small_data_get_a_minimum_of_steps_and_large_data_a_minimum_of_epochs(inputs: recipe.Inputs) -> None:
    facts = replace(TEXTS, inputs=inputs)
    assert recipe.epochs(facts, 1) >= 400
    assert recipe.epochs(facts, 10_000) >= 12
    assert recipe.epochs(facts, 10_000) < recipe.epochs(facts, 3)


def test_patience_follows_the_length() -> None:
    assert [recipe.patience(epochs) for epochs in (1, 30, 300)] == [5, 10, 100]


def test_texts_are_regularized_and_their_embeddings_start_small() -> None:
    choices = recipe.choose(TEXTS, 128, 12)
    assert choices["data.batch_size"] == 128
    assert choices["trainer.max_epochs"] == 12
    assert choices["monitor"] == "val/loss"
    assert choices["data.token_dropout"] > 0
    assert choices["model.dropout"] > 0.2
    assert choices["model.embedding_scale"] < 1
    assert "model.label_smoothing" not in choices


def test_only_photos_are_flipped_and_only_for_convolutions() -> None:
    def augmentations(facts: Facts) -> list[str]:
        return [spec["class_path"] for spec in recipe.augmentation(facts)]

    assert augmentations(PHOTOS) == ["RandomShift", "RandomFlip"]
    assert augmentations(replace(PHOTOS, is_photo=False)) == ["RandomShift"]
    assert augmentations(replace(PHOTOS, network="mlp")) == []
    assert "data.augment" not in recipe.choose(TEXTS, 128, 12)


def test_a_linear_forecast_starts_as_the_last_value() -> None:
    choices = recipe.choose(FORECAST, 16, 100)
    assert choices["model.init"] == "zeros"
    assert not {"monitor", "model.dropout"} & choices.keys()


def test_an_mlp_forecasts_what_a_linear_model_misses() -> None:
    assert recipe.choose(replace(FORECAST, network="mlp"), 16, 100)["model.linear_skip"] is True
    assert "model.linear_skip" not in recipe.choose(replace(FORECAST, network="mlp", inputs="rows"), 16, 100)


def test_recurrent_networks_clip_their_gradients() -> None:
    assert recipe.choose(replace(TEXTS, network="rnn"), 128, 12)["trainer.gradient_clip_val"] == 1
    assert "trainer.gradient_clip_val" not in recipe.choose(TEXTS, 128, 12)


def test_labels_of_several_classes_are_not_smoothed() -> None:
    assert recipe.choose(PHOTOS, 8, 10)["model.label_smoothing"] > 0
    assert "model.label_smoothing" not in recipe.choose(replace(PHOTOS, is_multilabel=True), 8, 10)


def test_an_unknown_network_keeps_its_learning_rate() -> None:
    assert not {"model.lr", "model.weight_decay"} & recipe.choose(replace(TEXTS, network="other"), 8, 10).keys()


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["Müller", "De Vries", "O'Neill"], "characters"),
        (["這個產品的品質非常好而且價格便宜值得購買", "送貨的速度太慢了而且包裝也已經完全破損"], "characters"),
        (["A good film, all in all.", "too long"], "words"),
        (["What is that?", "What is an atom ?", "Who was Galileo ?"], "words"),
    ],
)
def test_names_and_scripts_without_spaces_are_read_by_characters(texts: list[str], unit: str) -> None:
    choices = recipe.tokenization(texts)
    assert choices["data.tokens"] == unit
    assert ("data.lowercase" in choices) == (unit == "words")


def test_skewed_columns_are_normalized_for_classes() -> None:
    assert recipe.table_encoding(has_classes=True) == {"data.normalize_skewed": True}
    assert not recipe.table_encoding(has_classes=False)


@pytest.mark.parametrize(("samples", "side", "size"), [(200, 64, 16), (5000, 64, 128), (5000, 256, 16), (200, 512, 4)])
def test_a_batch_with_masks_is_limited_in_pixels(samples, side, size):
    facts = Facts("unet", "images", samples, has_classes=True, image_side=side, is_photo=True, has_masks=True)
    assert recipe.batch_size(facts) == size
    choices = recipe.choose(facts, size, 30)
    assert choices["model.lr"] == 3e-3
    assert not {"monitor", "model.label_smoothing"} & choices.keys()
    assert [spec["class_path"] for spec in choices["data.augment"]] == ["RandomShift", "RandomFlip"]
