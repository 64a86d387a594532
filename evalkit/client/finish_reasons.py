"""What a finish reason means, in whichever words an endpoint says it."""

from __future__ import annotations

import re

# meanings
ENDED, CALLED, LENGTH, FILTERED, FAILED, NONE, UNKNOWN = range(1, 8)

_IGNORED = re.compile(r"[^a-z0-9]+")
_PREFIX = re.compile(r"^(?:finish|stop|done)?reason(?=.)")

_WORDS = {
    # the model ended the answer itself
    ENDED: "stop stopped eos eostoken eosfound endturn endoftext endofturn endofsequence stopsequence stopsequences "
    "stoptoken stopword stopstr stopcriteriamet word end complete completed finish finished done normal success "
    "succeeded pauseturn",
    # with a call
    CALLED: "toolcall toolcalls tooluse functioncall functioncalls function tool tools",
    # it was cut off at a limit
    LENGTH: "length limit maxlen maxcontext "
    "maxtokens maxtoken maxtokensreached maxoutputtokens maxcompletiontokens maxnewtokens maxlength "
    "maxgenerationlength modellength tokenlimit tokenlimitreached lengthlimit lengthcapped outputlimit contextlength "
    "contextlengthexceeded contextwindowexceeded modelcontextwindowexceeded contextlimit errorlimit outoftokens",
    # a filter withheld the rest of it
    FILTERED: "contentfilter contentfiltered filtered filter safety imagesafety recitation imagerecitation blocklist "
    "prohibitedcontent imageprohibitedcontent spii language sensitive outputsensitive inputsensitive moderation "
    "moderated guardrail guardrails guardrailintervened refusal refused errortoxic toxic blocked promptblocked "
    "contentblocked contentpolicy policyviolation contentpolicyviolation modelarmor",
    # it could not be finished
    FAILED: "abort aborted abnormal error errored err failed failure fail fatal exception servererror internalerror "
    "internalservererror modelerror engineerror upstreamerror providererror apierror unknownerror "
    "runtimeerror streamerror generationerror inferenceerror servicerror serviceunavailable unavailable "
    "overload overloaded engineoverloaded networkerror connectionerror connectionclosed connectionlost "
    "disconnect disconnected insufficientsystemresource insufficientsystemresources insufficientresource "
    "insufficientresources resourceexhausted outofmemory oom timeout timedout timelimit maxtime "
    "deadlineexceeded expired cancel canceled cancelled usercancel usercancelled usercanceled userabort "
    "interrupt interrupted preempted evicted killed incomplete invalid malformedfunctioncall "
    "malformedtoolcall malformedtooluse malformedmodeloutput malformedresponse invalidfunctioncall "
    "invalidtoolcall unexpectedtoolcall toomanytoolcalls missingthoughtsignature toolcallerror noimage "
    "imageother ratelimit ratelimited ratelimitexceeded toomanyrequests throttled quotaexceeded",
    # sent in every event until the last
    NONE: "null none unspecified inprogress running generating unfinished notfinished continue",
}
_MEANINGS = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}
# the word for a meaning that others compare with; of the other meanings the endpoint's own word is kept
_STANDARD = {LENGTH: "length", FILTERED: "content_filter"}


def meaning(reason: str) -> int:
    """The meaning of a finish reason, whose case and punctuation do not matter: ``MAX_TOKENS`` is ``maxTokens``."""
    word = _IGNORED.sub("", reason[:100].lower())
    return NONE if not word else _MEANINGS.get(word) or _MEANINGS.get(_PREFIX.sub("", word), UNKNOWN)


def calls(reason: str | None) -> bool:
    """Whether it says that the answer ends with a call."""
    return reason is not None and reason != "stop" and meaning(reason) == CALLED


def standard(reason: str) -> str:
    """``length`` or ``content_filter`` for any word that means it; any other reason as sent."""
    return _STANDARD.get(meaning(reason), reason)


def failure(reason: str) -> tuple[str, str]:
    """The error kind of a finish reason that means a failure, and what to do about it."""
    word = _IGNORED.sub("", reason[:100].lower())
    if word.startswith(("ratelimit", "toomanyrequests", "throttl", "quota")):
        return "rate_limited", "Lower the concurrency or set a limit of requests per minute."
    if "call" in word or "tool" in word:
        return "server", "The model wrote a call that the endpoint cannot read: try again, or make the tools simpler."
    return "server", "Try again; if it keeps failing, check the endpoint's log."
