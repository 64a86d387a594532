"""Records for tests that need some, made by hand: a good turn, a failed one."""

from evalkit.conversation import Conversation, Turn
from evalkit.errors import Failure
from evalkit.record import Answer, Attempt, Timing, TurnRecord, Usage
from evalkit.runfile import record_rows
from evalkit.runfile.finished_turn import FinishedTurn, LazyConversation

MS = 1_000_000


def conversation(identity="c1", turns=2):
    return Conversation(identity, tuple(Turn(f"What is {n} + {n}?", target=2 * n) for n in range(1, turns + 1)))


def attempt(text="The answer is 2.", *, sent=1000 * MS, failure=None, status=200, **fields):
    timing = Timing(
        due=sent - 2 * MS,
        slot=sent - MS,
        sent=sent,
        headers=sent + 5 * MS,
        arrivals=(sent + 50 * MS, sent + 60 * MS, sent + 80 * MS),
        arrival_events=(1, 2, 1),
        first_visible=sent + 50 * MS,
        end=sent + 81 * MS,
    )
    fields = {"streamed": True, "usage": Usage(20, 5), "flags": ("no_done",), **fields}
    answer = Answer(text=text, finish_reason="stop")
    return Attempt(timing, answer=answer, failure=failure, http_status=status, **fields)


def answered(turn=1, text="The answer is 2.", *, identity="c1", repeat=1, **fields):
    return TurnRecord(identity, repeat, turn, (attempt(text, **fields),))


def failed(turn=1, kind="server", *, identity="c1", repeat=1, message="It fell over. Try again."):
    failure = Failure(kind, message, 500)
    return TurnRecord(identity, repeat, turn, (attempt("part", failure=failure, status=500),), failure=failure)


def finished(position, asked, record):
    """A turn on its way into a run file, as the asking process hands it over."""
    turn = record_rows.turn_row(position, asked.turns[record.turn - 1], record)
    return FinishedTurn(
        LazyConversation(position, asked),
        turn,
        [record_rows.attempt_row(position, record, each) for each in record.attempts],
    )
