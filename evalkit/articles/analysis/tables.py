"""All tables of an analysis, in the order in which a report shows them."""

from __future__ import annotations

from evalkit.articles.analysis import accuracy_tables, answer_tables, plan_tables
from evalkit.articles.analysis.analyse import Analysis
from evalkit.records import Table


def tables(analysis: Analysis) -> tuple[Table, ...]:
    """Arrange what an analysis found: the paper's table first, the published one after it; none without rows."""
    found = (
        accuracy_tables.paper(analysis),
        accuracy_tables.published_table(),
        accuracy_tables.people(analysis),
        accuracy_tables.tests(analysis),
        accuracy_tables.clustered(analysis),
        answer_tables.extremes(analysis),
        answer_tables.choices(analysis),
        answer_tables.confidence(analysis),
        plan_tables.detectable(analysis),
        plan_tables.plan(analysis),
        plan_tables.power_law(analysis),
    )
    return tuple(each for each in found if each.rows)


def participants(analysis: Analysis) -> Table:
    """Give a row a participant, for CSV."""
    return answer_tables.participants(analysis)


def texts(analysis: Analysis) -> Table:
    """Give a row a text, for CSV."""
    return answer_tables.texts(analysis)
