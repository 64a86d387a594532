"""A model as judge: rubrics, what a judge is sent, how its reply is read, two runs side by side, and a judge checked
against people. A judging is a run of its own, kept beside the run that is judged; its scores are stored as a
scoring. Start with ``judging``.
"""

__all__ = ["against_people", "judging", "pairwise", "scoring_command"]
