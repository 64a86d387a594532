"""The verdicts of probes; ``probe.Judgement`` says what each means."""

CONFORMS, DIFFERS, UNSUPPORTED, IGNORED = "conforms", "differs", "unsupported", "ignored"
NOT_JUDGED, FAILED = "not_judged", "failed"
VERDICTS = (CONFORMS, DIFFERS, UNSUPPORTED, IGNORED, NOT_JUDGED, FAILED)
