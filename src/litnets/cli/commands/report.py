"""`litnets report`: write report.html and model_card.md into a run folder.

litnets report checkpoints/digits_cnn/<run>
litnets report digits_cnn                       the newest run of an experiment
"""

from pathlib import Path

from litnets.analysis.report import build_report
from litnets.analysis.scores_page import read_scores, scores_page
from litnets.analysis.search_page import read_search, search_page
from litnets.cli.command_parser import CommandParser
from litnets.runs.find import find_run
from litnets.runs.storage import write_text
from litnets.safety.escaping import printable

_DESCRIPTION = """\
Write a report on a run into its folder: report.html, one page that needs no other file and no internet
connection, and model_card.md. They show how good the network is (with confidence intervals, beside simple baselines),
where it fails, what it was trained on and how. The report uses the files of the run folder and nothing else.

RUN is a run folder, or an experiment for its newest run. The folder of a cross-validation or of several seeds gets
report.html with the scores of all its runs."""


def report(args: list[str]) -> int:
    """Write the report of a run, and return the exit code.

    Args:
        args: The run and options.

    Raises:
        InputError: There is no such run, or one of its files is damaged or cannot be written.
    """
    parser = CommandParser("report", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="run folder or experiment")
    parser.add_argument("--runs_dir", type=Path, default=Path("checkpoints"), help="folder of the experiments")
    options = parser.parse_args(args)
    folder = next((path for path in (Path(options.run), options.runs_dir / options.run) if path.is_dir()), None)
    page = None if folder is None else _page_of_runs(folder)
    if folder is not None and page is not None:
        write_text(folder / "report.html", page)
        print(printable(f"report: {folder / 'report.html'}"))
        return 0
    run = find_run(options.run, options.runs_dir)
    build_report(run).save(run)
    print(printable(f"report: {run.report}"))
    print(printable(f"model card: {run.model_card}"))
    return 0


def _page_of_runs(folder: Path) -> str | None:
    """Return the page of a cross-validation, of several seeds or of a search; None if the folder holds none."""
    if (scores := read_scores(folder)) is not None:
        return scores_page(folder, scores)
    if (results := read_search(folder)) is not None:
        return search_page(folder, results)
    return None
