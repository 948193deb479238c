from itertools import pairwise

import torch

from litnets.pieces import append_merged


def test_few_pieces_hold_all_batches_in_order() -> None:
    pieces: list[torch.Tensor] = []
    batches = torch.arange(1000).split(7)
    for batch in batches:
        append_merged(pieces, batch)
        lengths = [len(piece) for piece in pieces]
        assert all(first >= 2 * second for first, second in pairwise(lengths))
    assert torch.equal(torch.cat(pieces), torch.arange(1000))
    assert len(pieces) <= 8  # log2 of the number of batches
