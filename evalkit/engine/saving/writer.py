"""Commits turns in groups, then has them scored, then counts them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from evalkit.engine.saving import retracted_answers
from evalkit.engine.saving.progress import Progress
from evalkit.engine.saving.scoring_thread import ScoredTurn, ScoringThread, UnscoredTurn
from evalkit.record import Score, TurnKey
from evalkit.runfile import scorings
from evalkit.runfile.finished_turn import FinishedTurn
from evalkit.runfile.store import RunFile

if TYPE_CHECKING:
    from evalkit.engine.stopping.accuracy_goal import AccuracyGoal

BATCH = 50  # turns given to the scoring thread at a time while others arrive
BATCH_AT_END = 1_000
WAIT_S = 0.1  # for scores, before checking again whether to wait
BACKLOG = 4_000  # turns waiting for a score; further ones are scored from the run file at the end
GOAL_BACKLOG = 500  # the same with an accuracy goal: a turn sent before these scores may be one too many


class Writer:
    """Writes a session's turns into its run file, and has them scored.

    A turn is committed before it is scored, and is scored as the run file has it. Scores are committed with the next
    group of turns, or by themselves when no turns arrive. Scoring never delays requests: what it cannot keep up with is
    scored after the last request.

    Parameters
    ----------
    runfile : RunFile
    scoring : ScoringThread
        Started; whoever started it closes it.
    progress : Progress
        Updated after every commit.
    may_wait : callable
        Whether to wait for scores; if not, a later session makes those that are missing.

    Attributes
    ----------
    accuracy_goal : AccuracyGoal or None
        Takes note of every turn that failed, or was answered and scored. Since it decides when the run ends, new turns
        wait when scoring cannot keep up.
    """

    def __init__(
        self,
        runfile: RunFile,
        scoring: ScoringThread,
        progress: Progress,
        may_wait: Callable[[], bool] = lambda: True,
    ) -> None:
        self._runfile = runfile
        self._scoring = scoring
        self._progress = progress
        self._may_wait = may_wait
        self._unscored: deque[TurnKey] = deque()
        self._skipped = False
        self.accuracy_goal: AccuracyGoal | None = None
        self._given: deque[TurnKey] = deque()  # turns being scored, in order
        self._stale: Counter[TurnKey] = Counter()  # those of them whose answers were retracted meanwhile
        self._retracted: dict[tuple[int, int], dict[int, str]] = {}  # failed turns of conversations that are sent again
        self._noted: set[str] = set()  # scorers whose version is in the run file

    @property
    def scoring(self) -> bool:
        """Whether there are turns to score, or scores to commit."""
        return bool(self._unscored or self._scoring.outstanding)

    def add(self, group: Iterable[FinishedTurn] = ()) -> None:
        """Commit turns, and the scores made since the last commit."""
        group = list(group)
        self._commit(group, self._take())
        keys = [done.key for done in group if done.error_kind is None]
        if self.accuracy_goal is not None:
            self._note_failed(self.accuracy_goal, group)
        if len(self._unscored) + len(keys) > BACKLOG:
            self._skipped = True
        else:
            self._unscored += keys
        while self.accuracy_goal is not None and self._waiting > GOAL_BACKLOG and self._may_wait():
            self._wait_for_scores()

    def retract(self, position: int, repeat: int, turn: int, *, later: bool) -> None:
        """Retract an answer that may be incomplete: its turn counts as failed until it is sent again."""
        progress, failed = self._progress, self._retracted.setdefault((position, repeat), {})
        for number, kind, score, this_session in retracted_answers.retract(
            self._runfile, position, repeat, [turn], later=later
        ):
            if kind is not None:
                if this_session:
                    failed[number] = kind
                continue
            if this_session:
                progress.answered -= 1
            else:
                progress.kept -= 1
            if score is not None:
                progress.scored -= 1
                progress.right -= score
            failed[number] = "truncated"
            progress.errors += 1
            progress.errors_by_kind["truncated"] += 1
            key = position, repeat, number
            if key in self._unscored:
                self._unscored.remove(key)
            elif self._given.count(key) > self._stale[key]:
                self._stale[key] += 1
            elif self.accuracy_goal is not None:
                self.accuracy_goal.retract(position, score)

    def use_lull(self) -> None:
        """While no turns arrive, have some scored, and commit finished scores."""
        if self._scoring.outstanding < BATCH:
            self._give_next(BATCH)
        if scored := self._take():
            self._commit([], scored)

    def finish(self, *, earlier: bool = False) -> None:
        """Score and commit the remaining turns.

        Parameters
        ----------
        earlier : bool
            Also score answers of earlier sessions, which may have been killed before scoring.
        """
        while self.scoring and self._may_wait():
            self._wait_for_scores(BATCH_AT_END)
        if (self._skipped or earlier) and self._may_wait():
            for group in self._runfile.unscored():
                self._give(group)
                while self._scoring.outstanding and self._may_wait():  # the two threads would be slower in parallel
                    self._wait_for_scores()
                if not self._may_wait():
                    break
        self.add()

    def _give_next(self, most: int) -> None:
        if self._unscored:
            keys = sorted(self._unscored.popleft() for _ in range(min(most, len(self._unscored))))
            self._give(self._runfile.to_score(keys))

    def _give(self, turns: list[UnscoredTurn]) -> None:
        self._given.extend([turn[0] for turn in turns])
        self._scoring.give(turns)

    def _take(self, wait_s: float = 0.0) -> list[ScoredTurn]:
        """The finished scores, without those of answers retracted meanwhile."""
        taken = self._scoring.take(wait_s)
        for _ in taken:
            self._given.popleft()
        return [scored for scored in taken if not self._is_stale(scored.key)] if self._stale else taken

    def _is_stale(self, key: TurnKey) -> bool:
        """Whether the next score of a turn is that of a retracted answer; counts it as taken."""
        if self._stale[key] < 1:
            return False
        self._stale[key] -= 1
        return True

    @property
    def _waiting(self) -> int:
        return len(self._unscored) + self._scoring.outstanding

    def _wait_for_scores(self, most: int = BATCH) -> None:
        if not self._scoring.outstanding:
            self._give_next(most)
        self._commit([], self._take(WAIT_S))

    def _commit(self, group: list[FinishedTurn], scored: list[ScoredTurn]) -> None:
        if not (group or scored):
            return
        scores = [(*key, score) for key, _, score in scored if score is not None]
        if used := {row[3].scorer for row in scores} - self._noted:
            scorings.note_own_versions(self._runfile, used, self._scoring.scorers)
            self._noted |= used
        self._runfile.add(group, scores)
        self._count(group, scores)
        if self.accuracy_goal is not None:
            for (position, *_), turns, score in scored:
                value = None if score is None else score.value
                self.accuracy_goal.note(position, turns, 1, value or 0.0, int(value is not None))

    def _note_failed(self, goal: AccuracyGoal, group: list[FinishedTurn]) -> None:
        for done in group:
            if done.error_kind is not None and not done.interrupted:
                goal.note(done.position, done.turns, 1, 0.0, 0)

    def _count(self, group: list[FinishedTurn], scores: list[tuple[int, int, int, Score]]) -> None:
        progress = self._progress
        if self._retracted:
            for done in group:
                if (failed := self._retracted.get(done.key[:2])) is not None:
                    self._count_again(done, failed)
        kinds = [done.error_kind for done in group if done.error_kind is not None]
        progress.answered += len(group) - len(kinds)
        progress.errors += len(kinds)
        progress.errors_by_kind.update(kinds)
        values = [row[3].value for row in scores if row[3].value is not None]
        progress.scored += len(values)
        progress.right += sum(values)

    def _count_again(self, done: FinishedTurn, failed: dict[int, str]) -> None:
        """Replace the count of a failed turn by that of the same turn sent again."""
        turn, kind = done.key[2], done.error_kind
        before = failed.pop(turn, None)
        if before is not None:
            self._progress.errors -= 1
            self._progress.errors_by_kind[before] -= 1
        if kind is not None:
            failed[turn] = kind
