"""A model as judge: rubrics, the cases sent to a judge, how its reply is read, two runs side by side, labels that
people give to answers (``labelling``), and a judge checked against them. The judge's calls are a run of their own, next
to the judged run; its scores are stored as a scoring. Start with ``judging``.
"""

__all__ = [
    "against_people",
    "correction",
    "judged_ranks",
    "judging",
    "labelling",
    "labels",
    "pairwise",
    "rescore_command",
]
