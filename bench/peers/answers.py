"""What a peer answered, read from its output topic, against the exact answers. One form for all, ours included."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.peers.work import Answer, Key

TOLERANCE = 0.02
"""A quantile may be off by this share of the exact value; all else must be exact."""

EXACT = ("completions", "errors", "input_tokens", "output_tokens")
QUANTILES = ("duration_us_p50", "duration_us_p99")


class Window(msgspec.Struct):
    """A record of an output topic: the peers' whole record; of our MetricWindow the fields that are compared."""

    model: str
    start_us: int
    completions: int
    errors: int
    error_rate: float
    input_tokens: int
    output_tokens: int
    duration_us_p50: float | None = None
    duration_us_p99: float | None = None


_DECODER = msgspec.json.Decoder(Window)


def parse(value: bytes) -> tuple[Key, Answer]:
    """One record of an output topic."""
    window = _DECODER.decode(value)
    return (window.model, window.start_us), Answer(**{name: getattr(window, name) for name in Answer._fields})


def complete(answers: Mapping[Key, Answer], exact: Mapping[Key, Answer]) -> bool:
    """Whether every window has been answered with all its completions: nothing more is to come."""
    return all(key in answers and answers[key].completions == want.completions for key, want in exact.items())


def check(answers: Mapping[Key, Answer], exact: Mapping[Key, Answer]) -> list[str]:
    """What is wrong, a sentence a window; empty when all is right. Windows that were not asked for are ignored only
    when they are empty or lie behind the last one asked for (the closing events)."""
    last_us = max(start_us for _, start_us in exact)
    problems = [f"{key}: no answer" for key in exact if key not in answers]
    for key, got in answers.items():
        if key in exact:
            problems += [f"{key}: {problem}" for problem in _differences(got, exact[key])]
        elif key[1] <= last_us and got.completions:
            problems.append(f"{key}: nothing happened in it, yet {got.completions} completions were answered")
    return problems


def _differences(got: Answer, want: Answer) -> list[str]:
    wrong = [name for name in EXACT if getattr(got, name) != getattr(want, name)]
    wrong += [name for name in QUANTILES if not _near(getattr(got, name), getattr(want, name), TOLERANCE)]
    if not _near(got.error_rate, want.error_rate, 1e-9):
        wrong.append("error_rate")
    return [f"{name} is {_value(got, name)}, not {_value(want, name)}" for name in wrong]


def _near(got: float | None, want: float | None, tolerance: float) -> bool:
    if got is None or want is None:
        return got is want
    return abs(got - want) <= tolerance * abs(want)


def _value(answer: Answer, name: str) -> Any:
    return getattr(answer, name)
