"""One request that is told to wait for the model, while others are answered or are not."""

import time

from evalkit.engine.pacing.loading_wait import LoadingWait
from evalkit.engine.pacing.pause import Pause
from evalkit.errors import LOADING, Failure

STILL_LOADING = Failure("server", "Loading.", pending=LOADING)


def test_others_that_are_answered_show_that_it_concerns_one_request():
    pause = Pause()
    waits = LoadingWait(pause)
    waits.note(STILL_LOADING)
    pause.back_off(0.01, 0.0)
    assert (waits.alone, waits.refused_s < 0.1) == (False, True)
    waits.note(STILL_LOADING)
    assert not waits.alone
    pause.note_answer(-0.01)
    time.sleep(0.02)
    waits.note(STILL_LOADING)
    assert waits.alone
    assert waits.refused_s >= 0.02
    waits.note(Failure("server", "Failed."))
    assert not waits.alone


def test_answers_before_its_first_refusal_do_not_count():
    pause = Pause()
    pause.note_answer(0.0)
    waits = LoadingWait(pause)
    waits.note(STILL_LOADING)
    waits.note(STILL_LOADING)
    assert not waits.alone
