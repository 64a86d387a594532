"""Keeps what was asked: commits turns in groups, then scores them, then counts them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from evalkit.engine.saving import half_answers
from evalkit.engine.saving.progress import Progress
from evalkit.engine.saving.scoring_thread import Key, Scored, ScoringThread, Unscored
from evalkit.record import Score
from evalkit.runfile import scorings
from evalkit.runfile.finished_turn import FinishedTurn
from evalkit.runfile.store import RunFile

if TYPE_CHECKING:
    from evalkit.engine.stopping.accuracy_goal import Until

AHEAD = 50  # turns given to be scored at a time while others come
AT_THE_END = 1_000
WAIT_S = 0.1  # for scores, between two looks whether they are still waited for
BACKLOG = 4_000  # turns held to be scored; what comes beyond them is scored from the run file at the end
HELD = 500  # of a run that its scores are to end: each turn asked meanwhile may be one too many


class Writer:
    """Writes a session's turns into its run file, and has them scored.

    A turn is committed before it is scored, and scored as the run file has it. Scores go with the next group's turns,
    or alone when nothing else comes. Scoring never holds up asking: what it cannot keep up with is scored when all is
    asked.

    Parameters
    ----------
    runfile : RunFile
    scoring : ScoringThread
        Started; it is left by whoever started it.
    progress : Progress
        Brought up to date after every commit.
    waits : callable
        Whether scoring may be waited for; when not, what is not scored is left to a later session.

    Attributes
    ----------
    until : Until or None
        Told of every turn that has failed, or is answered and through with scoring. It is to end the run, so with it
        what comes waits when scoring cannot keep up.
    """

    def __init__(
        self,
        runfile: RunFile,
        scoring: ScoringThread,
        progress: Progress,
        waits: Callable[[], bool] = lambda: True,
    ) -> None:
        self._runfile = runfile
        self._scoring = scoring
        self._progress = progress
        self._waits = waits
        self._unscored: deque[Key] = deque()
        self._left = False
        self.until: Until | None = None
        self._given: Counter[Key] = Counter()  # turns that are being scored
        self._stale: Counter[Key] = Counter()  # those among them whose answers were taken back
        self._doubted: dict[tuple[int, int], dict[int, str]] = {}  # failed turns of conversations that are asked again
        self._noted: set[str] = set()  # scorers whose version stands in the run file

    @property
    def scoring(self) -> bool:
        """There are turns to score, or scores to commit."""
        return bool(self._unscored or self._scoring.outstanding)

    def add(self, group: Iterable[FinishedTurn] = ()) -> None:
        """Commit turns, and the scores made since the last time."""
        group = list(group)
        self._commit(group, self._take())
        keys = [done.key for done in group if done.error_kind is None]
        if self.until is not None:
            self._note_failed(self.until, group)
        if len(self._unscored) + len(keys) > BACKLOG:
            self._left = True
        else:
            self._unscored += keys
        while self.until is not None and self._held > HELD and self._waits():
            self._wait_for_scores()

    def retract(self, position: int, repeat: int, turn: int, *, later: bool) -> None:
        """Take back an answer that may be half: its turn has failed, until it is asked again."""
        progress, failed = self._progress, self._doubted.setdefault((position, repeat), {})
        for number, kind, score, here in half_answers.retract(self._runfile, position, repeat, [turn], later=later):
            if kind is not None:
                if here:
                    failed[number] = kind
                continue
            if here:
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
            elif self._given[key] > self._stale[key]:
                self._stale[key] += 1
            elif self.until is not None:
                self.until.take_back(position, score)

    def use_lull(self) -> None:
        """Nothing comes: have some turns scored, and commit what is."""
        if self._scoring.outstanding < AHEAD:
            self._give_next(AHEAD)
        if scored := self._take():
            self._commit([], scored)

    def finish(self, *, earlier: bool = False) -> None:
        """Score and commit what is left.

        Parameters
        ----------
        earlier : bool
            An earlier session may have been killed between its answers and their scores.
        """
        while self.scoring and self._waits():
            self._wait_for_scores(AT_THE_END)
        if (self._left or earlier) and self._waits():
            for group in self._runfile.unscored():
                self._give(group)
                while self._scoring.outstanding and self._waits():  # side by side the two threads would be slower
                    self._wait_for_scores()
                if not self._waits():
                    break
        self.add()

    def _give_next(self, most: int) -> None:
        if self._unscored:
            keys = sorted(self._unscored.popleft() for _ in range(min(most, len(self._unscored))))
            self._give(self._runfile.to_score(keys))

    def _give(self, turns: list[Unscored]) -> None:
        self._given.update(key for key, *_ in turns)
        self._scoring.give(turns)

    def _take(self, wait_s: float = 0.0) -> list[Scored]:
        """What has been scored, without the scores of answers that were taken back meanwhile."""
        taken = []
        for scored in self._scoring.take(wait_s):
            key = scored.key
            self._given[key] -= 1
            if not self._given[key]:
                del self._given[key]
            if self._stale.get(key):
                self._stale[key] -= 1
            else:
                taken.append(scored)
        return taken

    @property
    def _held(self) -> int:
        return len(self._unscored) + self._scoring.outstanding

    def _wait_for_scores(self, most: int = AHEAD) -> None:
        if not self._scoring.outstanding:
            self._give_next(most)
        self._commit([], self._take(WAIT_S))

    def _commit(self, group: list[FinishedTurn], scored: list[Scored]) -> None:
        if not (group or scored):
            return
        scores = [(*key, score) for key, _, score in scored if score is not None]
        if used := {score.scorer for *_, score in scores} - self._noted:
            scorings.note_own_versions(self._runfile, used, self._scoring.known)
            self._noted |= used
        self._runfile.add(group, scores)
        self._count(group, scores)
        if self.until is not None:
            for (position, *_), turns, score in scored:
                value = None if score is None else score.value
                self.until.note(position, turns, 1, value or 0.0, int(value is not None))

    def _note_failed(self, until: Until, group: list[FinishedTurn]) -> None:
        for done in group:
            if done.error_kind is not None and not done.interrupted:
                until.note(done.position, done.turns, 1, 0.0, 0)

    def _count(self, group: list[FinishedTurn], scores: list[tuple[int, int, int, Score]]) -> None:
        progress = self._progress
        for done in group:
            kind = done.error_kind
            if self._doubted and (failed := self._doubted.get(done.key[:2])) is not None:
                self._count_again(done, failed)
            if kind is None:
                progress.answered += 1
            else:
                progress.errors += 1
                progress.errors_by_kind[kind] += 1
        for *_, score in scores:
            if score.value is not None:
                progress.scored += 1
                progress.right += score.value

    def _count_again(self, done: FinishedTurn, failed: dict[int, str]) -> None:
        """A turn of a conversation that is asked again takes the place of one that had failed."""
        turn, kind = done.key[2], done.error_kind
        before = failed.pop(turn, None)
        if before is not None:
            self._progress.errors -= 1
            self._progress.errors_by_kind[before] -= 1
        if kind is not None:
            failed[turn] = kind
