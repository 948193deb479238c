import pytest
import torch

from litnets.data.images.tiles import Stitcher, ramp, tile_positions, tile_starts


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "starts"),
    [
        (64, 64, 0, [0]),
        (10, 64, 16, [0]),
        (128, 64, 0, [0, 64]),
        (129, 64, 0, [0, 64, 65]),
        (100, 64, 16, [0, 36]),
        (160, 64, 16, [0, 48, 96]),
    ],
)
def test_tiles_start_one_stride_apart_and_end_with_the_side(
    length: int, tile: int, overlap: int, starts: list[int]
) -> None:
    assert tile_starts(length, tile, overlap) == starts


def test_tiles_cover_each_image_row_by_row() -> None:
    positions = tile_positions(torch.tensor([[3, 7], [2, 2]]), (2, 4), (1, 1))
    assert positions.tolist() == [[0, 0, 0], [0, 0, 3], [0, 1, 0], [0, 1, 3], [1, 0, 0]]


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_the_weights_of_neighbors_add_up_to_one_where_they_overlap(overlap: int) -> None:
    weights = ramp(8, overlap)
    total = torch.zeros(3 * 8 - 2 * overlap)
    for tile in range(3):
        start = tile * (8 - overlap)
        total[start : start + 8] += weights
    inner = total[overlap : len(total) - overlap]
    torch.testing.assert_close(inner, torch.ones_like(inner))


SIZES = torch.tensor([[23, 31], [5, 40], [16, 16], [33, 7]])
TILE, OVERLAP = (16, 12), (5, 4)


def stitch(predict: "torch.Tensor", batch: int, keep: bool = False) -> list:  # type: ignore[type-arg]
    """Cut the probabilities `(images, K, 40, 40)` of each pixel into tiles, and stitch these."""
    tiles = tile_positions(SIZES, TILE, OVERLAP)
    stitcher = Stitcher(tiles, SIZES, TILE, OVERLAP, predict.shape[1], keep)
    padded = torch.nn.functional.pad(predict, (0, 40, 0, 40), value=9.0)  # the padding must not matter
    done = []
    for indices in torch.arange(len(tiles)).split(batch):
        values = [padded[i, :, t : t + TILE[0], x : x + TILE[1]] for i, t, x in tiles[indices].tolist()]
        done += stitcher.add(torch.stack(values), indices)
    return done


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_predictions_that_agree_are_returned_as_they_are(batch: int) -> None:
    predict = torch.rand(4, 3, 40, 40).softmax(1)
    images = stitch(predict, batch, keep=True)
    assert [image.index for image in images] == [0, 1, 2, 3]
    for image in images:
        height, width = SIZES[image.index].tolist()
        expected = predict[image.index, :, :height, :width]
        torch.testing.assert_close(image.probabilities, expected)
        assert torch.equal(image.mask, expected.argmax(0).to(torch.uint8))
        torch.testing.assert_close(image.probability, expected.amax(0))


def test_predictions_that_differ_are_blended_without_seams() -> None:
    """Two tiles that disagree entirely: from one to the other, the probability changes by small steps."""
    size, tile, overlap = torch.tensor([[4, 28]]), (4, 16), (0, 4)
    stitcher = Stitcher(tile_positions(size, tile, overlap), size, tile, overlap, 2, keep_probabilities=True)
    first, second = torch.zeros(2, 2, 4, 16)
    first[0], second[1] = 1, 1
    (image,) = stitcher.add(torch.stack([first, second]), [0, 1])
    assert image.probabilities is not None
    across = image.probabilities[1, 0]
    torch.testing.assert_close(across[12:16], torch.tensor([0.2, 0.4, 0.6, 0.8]))
    assert across.diff().max() < 0.21
    assert image.mask[0].tolist() == [0] * 14 + [1] * 14


def test_probabilities_are_kept_on_request_only() -> None:
    assert all(image.probabilities is None for image in stitch(torch.rand(4, 3, 40, 40), 5))


def test_memory_holds_one_row_of_tiles() -> None:
    size = torch.tensor([[1000, 20]])
    tiles = tile_positions(size, (16, 16), (4, 4))
    stitcher = Stitcher(tiles, size, (16, 16), (4, 4), 5)
    assert stitcher.add(torch.rand(len(tiles) - 1, 5, 16, 16), range(len(tiles) - 1)) == []
    assert stitcher._image is not None
    assert stitcher._image.total.shape == (5, 16, 20)
    assert len(stitcher.add(torch.rand(1, 5, 16, 16), [len(tiles) - 1])) == 1
