"""The plan of a load test: which loads, in which order, and how long each step lasts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from evalkit.datasets import reader
from evalkit.engine.pacing import arrivals as schedules
from evalkit.errors import SettingsError
from evalkit.inputs.bounds import LONGEST_S, check_above_0
from evalkit.runfile.store import SUFFIX

DOUBLING = tuple(2**n for n in range(11))
LEAST_CONVERSATIONS = 20
ROUNDS = 4
UNBOUNDED = 1_000_000  # repeats of a step that ends by time only


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The loads of a test, step by step, and the length of a step.

    Parameters
    ----------
    by : str
        ``concurrency``: closed loop, conversations in parallel; ``rate``: open loop, conversations started per second.
    loads : tuple of float
        The load of each step, in rising order.
    arrivals : str
        With a rate: ``constant`` or ``poisson``.
    warm_up : int or None
        Conversations left out at the start of a step. None: as many as run in parallel; with a rate, as many as start
        in a second.
    per_step : int or None
        Conversations after the warm-up. None: four times the concurrency, or ten seconds of the rate; at least 20.
    step_time_s : float or None
        Instead of ``per_step``: start nothing new after this many seconds.
    seed : int or None
        Seed of Poisson arrivals: step n, counted from 0, uses ``seed + n``. None: a new one is drawn for each plan.
    """

    by: str
    loads: tuple[float, ...]
    arrivals: str = "constant"
    warm_up: int | None = None
    per_step: int | None = None
    step_time_s: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for load in self.loads:
            if self.by == "concurrency" and (type(load) is not int or load < 1):
                raise SettingsError(f"concurrency {load!r}: each step must be a whole number, 1 or more")
            if not 0 < load < math.inf:
                raise SettingsError(f"rate {load!r}: each step must be a number above 0, in conversations per second")
        if not self.loads or any(later <= load for load, later in pairwise(self.loads)):
            shown = ", ".join(f"{load:g}" for load in self.loads) or "none"
            raise SettingsError(f"the steps are {shown}: give them in rising order, such as 1,2,4,8")
        for name, least in (("warm_up", 0), ("per_step", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise SettingsError(f"{name} is {value!r}: it must be a whole number, {least} or more")
        if self.by == "concurrency" and self.arrivals != "constant":
            raise SettingsError(f"arrivals {self.arrivals!r} need a rate: give the steps as rates")
        check_above_0("step_time_s", self.step_time_s, LONGEST_S)
        if self.per_step is not None and self.step_time_s is not None:
            raise SettingsError("per_step and step_time_s exclude each other: give one of them")
        if self.seed is None and self.arrivals == "poisson":
            object.__setattr__(self, "seed", schedules.new_seed())
        schedules.check_seed(self.seed, self.arrivals)

    @classmethod
    def of(cls, concurrency: Iterable[int] | None, rate: Iterable[float] | None, **more: Any) -> LoadPlan:
        """The plan of a sweep over concurrencies or rates; with neither, over concurrencies 1, 2, 4, … 1,024."""
        if concurrency is not None and rate is not None:
            raise SettingsError("concurrency and rate exclude each other: give one of them")
        if rate is not None:
            return cls("rate", tuple(rate), **more)
        return cls("concurrency", DOUBLING if concurrency is None else tuple(concurrency), **more)

    def warm_up_of(self, load: float) -> int:
        """Number of conversations that the step with this load leaves out."""
        return math.ceil(load) if self.warm_up is None else self.warm_up

    def settings_of(self, load: float, data: Path, columns: Mapping[str, str] | None) -> dict[str, Any]:
        """Settings of ``evaluate`` for one step; the dataset is repeated if it has too few conversations."""
        settings: dict[str, Any] = {self.by: load}
        if self.by == "rate":
            settings["arrivals"] = self.arrivals
        if self.seed is not None:
            settings["arrivals_seed"] = self.seed + self.loads.index(load)
        if self.step_time_s is not None:
            reader.check(data, columns=columns)
            # without a check, the run has no total: how many turns fit into the time is not known
            return {**settings, "max_time_s": self.step_time_s, "repeats": UNBOUNDED, "check": False}
        usual = max(math.ceil(load * (ROUNDS if self.by == "concurrency" else 10)), LEAST_CONVERSATIONS)
        wanted = self.warm_up_of(load) + (self.per_step or usual)
        available = max(reader.check(data, columns=columns, limit=wanted).conversations, 1)
        repeats = math.ceil(wanted / available)
        return {**settings, "repeats": repeats, "limit": math.ceil(wanted / repeats)}

    def file_of(self, folder: Path, load: float) -> Path:
        """The run file of a step."""
        return folder / f"{self.by}-{load:g}{SUFFIX}"
