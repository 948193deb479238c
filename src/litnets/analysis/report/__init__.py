"""The report on a run: a page that shows how good a network is and where it fails, and a model card.

    build_report(run).save(run)    # report.html and model_card.md

`record` reads the run folder, `sections` turns it into blocks of text, tables and figures, and `templates` turns those
into HTML and Markdown.
"""

from litnets.analysis.report.build import Report, build_report, is_quick, render_page

__all__ = ["Report", "build_report", "is_quick", "render_page"]
