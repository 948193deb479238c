"""What `litnets explain` has written: maps of what the network looks at, each with its check."""

import json
from typing import Any

from markupsafe import Markup

from litnets.analysis.report.blocks import Example, Gallery, Section
from litnets.analysis.report.inputs import Budget
from litnets.runs.folder import Run
from litnets.runs.storage import damaged, read_text
from litnets.safety import files


def explanations(run: Run, budget: Budget) -> Section | None:
    """Build the section with the pictures that `litnets explain` has written; None if there are none.

    Args:
        run: The run.
        budget: The bytes that the pictures may take.
    """
    folder = run.folder / "explain"
    path = folder / "explain.json"
    if not path.exists():
        return None
    try:
        listed: list[dict[str, Any]] = json.loads(read_text(path))
        pictures = [(one["method"], one["picture"], one["caption"], one["passed"], one["check"]) for one in listed]
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(path, repr(error)) from error
    galleries: dict[str, list[Example]] = {}
    for method, picture, caption, passed, check in pictures:
        file = folder / str(picture)
        if file.parent != folder or not files.is_regular(file):
            raise damaged(path, f"there is no picture {picture}")
        with files.open_regular(file) as opened:
            address = budget.embed(opened.read(), "image/png")
        if address is None:
            continue
        lines = [str(caption), f"{'check passed' if passed else 'check failed'}: {check}"]
        example = Example(Markup('<img alt="" src="{}">').format(address), lines, is_wrong=not passed)
        galleries.setdefault(str(method), []).append(example)
    return (
        Section("Explanations", [Gallery(method, shown) for method, shown in galleries.items()]) if galleries else None
    )
