"""The settings of a run, stored in its run file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evalkit.conversation import HISTORY_POLICIES, ScorerSpec
from evalkit.datasets.native_rows import read_scorer
from evalkit.engine.pacing.arrivals import KINDS, check_seed, new_seed
from evalkit.errors import DatasetError, SettingsError
from evalkit.inputs.bounds import LONGEST_S, MOST, MOST_RATE, check_above_0, check_json, check_whole

CLOSED_LOOP_SLOTS = 4
OPEN_LOOP_SLOTS = 1_000
_WHOLE = (
    ("repeats", 1), ("retries", 0), ("max_tool_rounds", 0), ("limit", 1), ("max_tokens_total", 1), ("seed", 0),
)  # fmt: skip
_ABOVE_0 = (("rate", MOST_RATE), ("rpm", MOST), ("tpm", MOST), ("max_time_s", LONGEST_S), ("max_cost", MOST))


@dataclass(frozen=True, slots=True)
class Settings:
    """How a dataset is run against an endpoint; stored in the run file.

    Parameters
    ----------
    history : str
        ``own``: later turns see the model's own answers; ``golden``: they see the dataset's.
    repeats : int
        How often each conversation is run.
    concurrency : int or str or None
        Most conversations in parallel; ``auto``: as many as the endpoint serves without slowing down. None: 4, or
        1,000 with a ``rate``.
    stream : bool
        Request streams: without them there is no time to the first token.
    scorer : str, mapping, list of those, or None
        For turns that name none: as a dataset row would name it, or the name of a Python function used as a scorer
        (``scorers.own_functions``). None: by the type of the target.
    system : str or None
        System prompt of every conversation, in place of the dataset's: its ``system``, and ``system`` and ``developer``
        messages at the start of its context. A row with one later in its context is refused. Empty: none is sent.
        None: that of the dataset.
    rate : float or None
        Open loop: conversations started per second, whether or not earlier ones have ended. None: closed loop, a new
        one starts when one ends.
    arrivals : str
        With ``rate``: ``constant`` or ``poisson`` gaps between them.
    rpm, tpm : float or None
        Most requests and tokens in any 60 seconds: ten seconds' worth of them at one moment, the rest evenly.
    retries : int
        Tries after the first, for failures that a retry may fix.
    max_tool_rounds : int
        How many times a turn may call functions.
    limit : int or None
        Run only this many conversations, from the start of the dataset.
    columns : mapping or None
        Field to the heading of its column, or to the key or path in JSON rows; None: they are the names of the fields.
    max_tokens_total : int or None
        Send no further request once this session has used this many tokens of prompts and answers. Where the endpoint
        reports no counts they are estimated at four bytes per token.
    max_time_s : float or None
        Send nothing new after this many seconds of the session; requests in flight then have a few more.
    max_cost : float or None
        Send no further request once this session has cost this much, in the currency of ``price``.
    price : (float, float), up to (float, float, float, float), or None
        Price of a million tokens of prompts and of output.
    arrivals_seed : int or None
        For ``poisson`` arrivals: the same seed gives the same gaps. None: a random seed for each run, which is stored.
    until_ci : float or None
        Send nothing new once the 95 % interval of the accuracy has this half-width, 0 to 0.5. The interval stays valid
        however often it is checked (``anytime_interval.ConfidenceSequence``). Valid for conversations in random order.
    seed : int or None
        Seed of the model's sampling: repeat r sends the request parameter ``seed`` as this number + r - 1, so repeats
        differ and can be repeated. A conversation's own ``seed`` parameter is sent as it is. None: none is sent.
    functions : mapping or None
        Name to version of the Python functions that the model can call.
    """

    history: str = "own"
    repeats: int = 1
    concurrency: int | str | None = None
    stream: bool = True
    scorer: str | Mapping[str, Any] | list[Any] | None = None
    system: str | None = None
    rate: float | None = None
    arrivals: str = "constant"
    rpm: float | None = None
    tpm: float | None = None
    retries: int = 2
    max_tool_rounds: int = 4
    limit: int | None = None
    columns: Mapping[str, str] | None = None
    max_tokens_total: int | None = None
    max_time_s: float | None = None
    max_cost: float | None = None
    price: tuple[float, ...] | None = None
    until_ci: float | None = None
    arrivals_seed: int | None = None
    seed: int | None = None
    functions: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.concurrency is None:
            object.__setattr__(self, "concurrency", OPEN_LOOP_SLOTS if self.rate else CLOSED_LOOP_SLOTS)
        if self.history not in HISTORY_POLICIES:
            raise SettingsError(f"history is {self.history!r}: it must be 'own' or 'golden'")
        if self.arrivals not in KINDS:
            raise SettingsError(f"arrivals is {self.arrivals!r}: it must be 'constant' or 'poisson'")
        _check_system(self.system)
        for name, least in _WHOLE:
            check_whole(name, getattr(self, name), least)
        if self.concurrency != "auto" and (type(self.concurrency) is not int or self.concurrency < 1):
            raise SettingsError(f"concurrency is {self.concurrency!r}: it must be a whole number, 1 or more, or 'auto'")
        if self.concurrency == "auto" and self.rate is not None:
            raise SettingsError("concurrency 'auto' and a rate cannot be combined: the rate decides when to start")
        for name, most in _ABOVE_0:
            check_above_0(name, getattr(self, name), most)
        if self.arrivals_seed is None and self.rate is not None and self.arrivals == "poisson":
            object.__setattr__(self, "arrivals_seed", new_seed())
        check_seed(self.arrivals_seed, self.arrivals if self.rate is not None else "none")
        if self.until_ci is not None:
            self._check_goal(self.until_ci)
        if self.max_cost is not None and self.price is None:
            raise SettingsError("max_cost needs the price of a million tokens: price=(of prompts, of output)")
        if self.price is not None:
            object.__setattr__(self, "price", _checked(self.price))
        if self.scorer is not None:
            check_json("the setting", {"scorer": self.scorer})
            from evalkit.scorers import scoring  # imported late: the asking process scores nothing

            spec = self.default_scorer
            if spec is not None:
                scoring.validate(spec)

    def _check_goal(self, half_width: float) -> None:
        if isinstance(half_width, bool) or not isinstance(half_width, int | float) or not 0 < half_width < 0.5:
            raise SettingsError(f"until_ci is {half_width}: it must be between 0 and 0.5, such as 0.03 for ± 3 points")
        if self.repeats > 1:
            raise SettingsError(
                "until_ci and repeats cannot be combined: a repeated conversation says nothing about other "
                "conversations. Use more conversations instead"
            )

    @property
    def default_scorer(self) -> ScorerSpec | None:
        """The scorer for turns that name none; None: by the type of the target."""
        if self.scorer is None:
            return None
        try:
            return read_scorer(self.scorer, functions=True)
        except DatasetError as error:
            place = "scorer" if (error.field or "[").startswith("[") else "scorer."
            raise SettingsError(f"{place}{error.field or ''}: {error.problem}") from None

    def to_json(self) -> dict[str, Any]:
        """The settings as the run file stores them."""
        return asdict(self)


def _check_system(text: Any) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise SettingsError(f"system is {text!r}: it must be the text of a system prompt")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError("system has half of a surrogate pair: it is not text that can be sent") from None


_PRICES = ("price of prompts", "price of output", "price of cached prompts", "price of cache writes")


def _checked(price: Any) -> tuple[float, ...]:
    """Two prices, up to four, each 0 or more."""
    numbers = tuple(price) if isinstance(price, tuple | list) else ()
    if not 2 <= len(numbers) <= 4 or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise SettingsError(
            f"price is {price!r}: it must be two numbers: for a million tokens of prompts and of output, "
            "and where they differ for cached prompts and for prompts written to the cache"
        )
    for name, number in zip(_PRICES, numbers, strict=False):
        if number != 0:
            check_above_0(name, number)
    return numbers
