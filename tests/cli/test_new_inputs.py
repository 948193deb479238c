from pathlib import Path

import pytest

from litnets.cli.new_inputs import check_not_replaced
from litnets.errors import InputError


def test_masks_are_not_written_over_their_images() -> None:
    photos = Path("photos")
    check_not_replaced(["photos"], photos)
    photos.mkdir()
    (photos / "a.png").touch()
    for source in ("photos", "photos/a.png"):
        with pytest.raises(InputError, match=f"--output photos would replace the input {source}; name another"):
            check_not_replaced([source], photos)
    check_not_replaced(["other/a.png", "-"], photos)
