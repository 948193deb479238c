"""Writing predictions in chunks."""

import json
import sys
from pathlib import Path

from litnets.cli.prediction_output import open_output


def test_numbers_that_json_lacks_become_null() -> None:
    with open_output("p.jsonl", sys.stdout) as writer:
        writer.write({"file": ["a.png", "b.png"], "prediction": [0.5, float("nan")]})
        writer.write({"file": ["c.png"], "prediction": [float("inf")]})
    rows = [json.loads(line, parse_constant=lambda name: name) for line in Path("p.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in rows] == [0.5, None, None]
