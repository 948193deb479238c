"""Read texts, one per line of a UTF-8 file, as in training: normalize them and look up their tokens."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

UNKNOWN = 1


def read(path: str, about: Any) -> Iterator[tuple[str, Any]]:
    """Yield each text and its tokens, `(tokens,)`."""
    how, dtype = about["reading"], about["inputs"][0]["dtype"]
    if how["pattern"] is None:
        raise SystemExit("subwords need a tokenizer: build one with the package tokenizers from the merges in `ABOUT`")
    index = {token: number for number, token in enumerate(how["tokens"])}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        text = " ".join(unicodedata.normalize("NFC", line).split())
        if text:
            tokens = re.findall(how["pattern"], text.lower() if how["lowercase"] else text)
            indices = [index.get(token, UNKNOWN) for token in tokens[: how["max_length"]]]
            yield line, np.array(indices or [UNKNOWN], dtype)
