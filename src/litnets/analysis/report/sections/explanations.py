"""The pictures of `litnets explain`, which show what the network bases its answers on, each with its check."""

from typing import Any

from markupsafe import Markup

from litnets.analysis.report.blocks import Figures, Note, Section
from litnets.analysis.report.inputs import Budget
from litnets.analysis.report.svg import Figure
from litnets.runs.folder import Run
from litnets.runs.storage import JsonType, check_types, damaged, read_json
from litnets.safety import files

_ENTRY: JsonType = {"method": "string", "picture": "string", "caption": "string", "passed?": "any", "check": "string"}
_INDEX: JsonType = {"explanations": [_ENTRY], "notes?": ["string"]}


def explanations(run: Run, budget: Budget) -> Section | None:
    """Build the section with the pictures of `litnets explain`; None if there are none.

    Args:
        run: The run.
        budget: The bytes that the pictures may take.
    """
    folder = run.explanation
    path = folder / "explain.json"
    if not path.exists():
        return None
    content = read_json(path)
    check_types(path, content, _INDEX)
    figures = []
    for entry in content["explanations"]:
        file = folder / entry["picture"]
        if file.parent != folder or not files.is_regular(file):
            raise damaged(path, f"there is no picture {entry['picture']}")
        with files.open_regular(file) as opened:
            address = budget.embed(opened.read(budget.limit + 1), "image/png")  # more does not fit
        if address is not None:
            picture = Markup('<img alt="" src="{}">').format(address)
            caption = ". ".join(part for part in (entry["caption"], _check(entry)) if part)
            figures.append(Figure(entry["method"], picture, caption, is_wide=True))
    notes = [Note(note) for note in content.get("notes") or []]
    return Section("Explanations", [Figures(figures), *notes]) if figures else None


def _check(entry: dict[str, Any]) -> str:
    if entry.get("passed") is None:
        return str(entry["check"])
    return f"{'Check passed' if entry['passed'] else 'CHECK FAILED'}: {entry['check']}"
