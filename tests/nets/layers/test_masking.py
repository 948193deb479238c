import torch

from litnets.nets.layers.masking import as_steps, masked_pool, sequence_mask

LENGTHS = torch.tensor([5, 1, 7, 3])


def test_an_image_is_read_as_a_sequence_of_rows():
    image = torch.arange(2 * 3 * 5 * 4).view(2, 3, 5, 4)
    rows = as_steps(image)
    assert rows.shape == (2, 5, 12)
    assert rows[1, 4, 4 * 2 + 3] == image[1, 2, 4, 3]
    sequence = torch.zeros(2, 5, 4)
    assert as_steps(sequence) is sequence


def test_the_mask_is_true_up_to_the_length_of_a_sequence():
    x = torch.zeros(4, 7, 2)
    assert sequence_mask(x, LENGTHS).tolist() == [[t < n for t in range(7)] for n in (5, 1, 7, 3)]
    assert sequence_mask(x, None).all()


def test_pooling_matches_each_sequence_alone():
    x = torch.randn(4, 7, 2) - 5  # so that a zero in the padding would be the maximum
    mask = sequence_mask(x, LENGTHS)
    x[~mask] = torch.nan
    for how, alone in {
        "mean": lambda s: s.mean(0),
        "max": lambda s: s.max(0).values,
        "first": lambda s: s[0],
        "last": lambda s: s[-1],
    }.items():
        expected = torch.stack([alone(row[:n]) for row, n in zip(x, LENGTHS, strict=True)])
        torch.testing.assert_close(masked_pool(x, mask, how), expected)
