from litnets.data.tables.summary import ColumnSummary, columns_csv, summary_lines

COLUMNS = [ColumnSummary("age", "integer", 3, 71, "scaled number"), ColumnSummary("=id", "", None, None, "ignored")]


def test_columns_are_aligned() -> None:
    assert summary_lines(COLUMNS) == [
        "  age  integer  3 missing  71 distinct  scaled number",
        "  =id                                   ignored",
    ]
    assert summary_lines([]) == []


def test_at_most_twenty_lines_are_shown() -> None:
    assert len(summary_lines(COLUMNS * 10)) == 20
    lines = summary_lines(COLUMNS * 20)
    assert len(lines) == 20
    assert lines[-1] == "  and 21 more"


def test_the_file_holds_all_columns_and_no_formula() -> None:
    assert columns_csv(COLUMNS) == (
        "column,type,missing,distinct,use\nage,integer,3,71,scaled number\n'=id,,,,ignored\n"
    )
