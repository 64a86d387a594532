"""Numbers and results as text, the same in a terminal, a chart, a report and a pull request.

Nothing is measured or laid out here: ``console``, ``charts`` and ``report`` place the sentences. Start with
``numbers``; ``run_sentences`` and ``turn_table`` are about one run, ``comparison`` about two, ``trends`` about the
titles of charts.
"""

__all__ = [
    "checkup_concerns",
    "comparison",
    "glossary",
    "imported",
    "incomplete_answers",
    "numbers",
    "probe_verdicts",
    "run_outcome",
    "run_results",
    "run_sentences",
    "trends",
    "turn_table",
    "verdicts",
]
