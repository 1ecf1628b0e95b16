"""From arrivals to traffic events. What a trace does not say is modelled from a seed; this file says which is which.

No public trace has arrivals, tokens, latency and status of language-model requests together, let alone users and
prompts. Whatever the arrivals bring is kept; the rest is drawn here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from replay import latency, population, prompts
from replay.arrivals import Arrivals, Integers
from replay.event import Event
from topics.fields import TOKENS_MAX
from topics.traffic import Completion, Request

MODEL_SPLIT: dict[str, float] = {"tide-70b": 0.5, "tide-13b": 0.3, "tide-7b": 0.2}
ERROR_TYPES = ("server_error", "server_error", "timeout", "overloaded")
MAX_TOKENS_SHARE = 0.5
"""Share of requests that set a limit on the answer's length."""

MODELLED: tuple[tuple[str, str], ...] = (
    (
        "organisation, tier",
        "client skew of ServeGen (busiest 16 %, five busiest 43 %); the twenty busiest are enterprise",
    ),
    ("user", "geometric within the organisation"),
    ("region, client", "assumed shares; each organisation mostly uses one of each"),
    ("model", "three model names, each organisation with a favourite"),
    ("max_tokens", "set by half of the requests, the next power of two above the answer's length"),
    (
        "prompt",
        "texts written for this project, about 1 % of them unsafe or a jailbreak; unrelated to the token counts",
    ),
    ("first token, duration", "shaped by LLMPerf's single requests; independent of load and prompt length"),
    ("errors", "0.5 % of requests, independent"),
)
"""What this file fills in, and from what. Readers leave out the rows that their trace brings."""


@dataclass
class _Merge:
    """Completions wait here until their time has come: at most those of the requests in flight."""

    times_us: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    events: list[Event] = field(default_factory=list)

    def push(self, times_us: Integers, events: list[Event], until_us: int) -> list[Event]:
        """Add events; take out, in order of time, all up to and including `until_us`."""
        times_us = np.concatenate([self.times_us, times_us])
        events = self.events + events
        order = np.argsort(times_us, kind="stable")
        ready = int(np.searchsorted(times_us[order], until_us, side="right"))
        self.times_us = times_us[order[ready:]]
        self.events = [events[index] for index in order[ready:].tolist()]
        return [events[index] for index in order[:ready].tolist()]


class Model:
    """Draws what arrivals lack. The same seed and chunks give the same events. `name` begins every request's id."""

    def __init__(self, name: str, seed: int, split: dict[str, float] | None = None) -> None:
        self._name = f"{name}-{seed}"
        split = split or MODEL_SPLIT
        self._models = list(split)
        self._profiles = {model: index % len(latency.PROFILES) for index, model in enumerate(split)}
        shares = np.array(list(split.values()))
        self._split = shares / shares.sum()
        self._rng = np.random.default_rng([seed, 1])
        self._places_rng = np.random.default_rng([seed, 3])  # apart, so that they change nothing else
        self._prompts, self._harmless = prompts.pool(seed)
        self._count = 0

    def events(self, chunks: Iterable[Arrivals]) -> Iterator[Event]:
        """Requests and completions in order of event time. Memory: a chunk, and the requests in flight."""
        merge = _Merge()
        for chunk in chunks:
            if len(chunk):
                times_us, events = self._columns(chunk)
                yield from merge.push(times_us, events, until_us=int(chunk.time_us[-1]))
        yield from merge.events

    def _columns(self, chunk: Arrivals) -> tuple[Integers, list[Event]]:
        """A chunk's requests, then its completions (unsorted), with their times."""
        rng, rows = self._rng, len(chunk)
        clients = population.draw_clients(rng, rows) if chunk.client is None else chunk.client
        users = population.draw_users(rng, rows)
        models = self._model_names(chunk, clients)
        profiles = np.array([self._profile(model) for model in models], np.int64)
        first_us, duration_us = latency.draw(rng, profiles, chunk.output_tokens)
        failed = rng.random(rows) < latency.ERROR_SHARE if chunk.failed is None else chunk.failed
        duration_us = np.where(failed, first_us, duration_us)
        ids = [f"{self._name}-{number}" for number in range(self._count, self._count + rows)]
        self._count += rows
        requests = self._requests(chunk, ids, clients.tolist(), users.tolist(), models)
        completions = self._completions(chunk, requests, first_us.tolist(), duration_us.tolist(), failed.tolist())
        times_us = np.concatenate([chunk.time_us, chunk.time_us + duration_us])
        return times_us, [*requests, *completions]

    def _profile(self, model: str) -> int:
        """The latency profile of a model; names that were not announced get one each in order of appearance."""
        return self._profiles.setdefault(model, len(self._profiles) % len(latency.PROFILES))

    def _model_names(self, chunk: Arrivals, clients: Integers) -> list[str]:
        if chunk.model is not None:
            return list(chunk.model)
        return [self._models[index] for index in population.draw_models(self._rng, clients, self._split).tolist()]

    def _prompt_numbers(self, rows: int) -> list[int]:
        harmless = self._rng.integers(0, self._harmless, rows)
        unsafe = self._rng.integers(self._harmless, len(self._prompts), rows)
        numbers: list[int] = np.where(self._rng.random(rows) < prompts.UNSAFE_SHARE, unsafe, harmless).tolist()
        return numbers

    def _requests(
        self, chunk: Arrivals, ids: list[str], clients: list[int], users: list[int], models: list[str]
    ) -> list[Request]:
        rows = len(chunk)
        limits = np.exp2(np.ceil(np.log2(np.maximum(chunk.output_tokens, 16)))).astype(np.int64)
        limits = np.where(self._rng.random(rows) < MAX_TOKENS_SHARE, np.minimum(limits, TOKENS_MAX), -1)
        texts, names, tiers = self._prompts, population.NAMES, population.TIERS
        of = np.array(clients, np.int64)
        regions = population.draw_named(self._places_rng, of, population.REGIONS)
        agents = population.draw_named(self._places_rng, of, population.CLIENTS)
        rest = zip(users, models, limits.tolist(), self._prompt_numbers(rows), regions, agents, strict=True)
        return [
            Request(
                id=id_,
                time_us=time_us,
                organisation=names[client],
                model=model,
                input_tokens=tokens,
                max_tokens=None if limit < 0 else limit,
                tier=tiers[client],
                user=f"{names[client]}-u{user}",
                region=region,
                client=agent,
                prompt=texts[prompt],
            )
            for id_, time_us, client, tokens, (user, model, limit, prompt, region, agent) in zip(
                ids, chunk.time_us.tolist(), clients, chunk.input_tokens.tolist(), rest, strict=True
            )
        ]

    def _completions(
        self, chunk: Arrivals, requests: list[Request], first_us: list[int], duration_us: list[int], failed: list[bool]
    ) -> list[Completion]:
        kinds = self._rng.integers(0, len(ERROR_TYPES), len(requests)).tolist()
        rest = zip(chunk.output_tokens.tolist(), first_us, duration_us, failed, kinds, strict=True)
        return [
            Completion(
                id=request.id,
                time_us=request.time_us + duration,
                organisation=request.organisation,
                model=request.model,
                input_tokens=request.input_tokens,
                output_tokens=0 if fails else tokens,
                first_token_s=None if fails else first / 1e6,
                duration_s=duration / 1e6,
                error_type=ERROR_TYPES[kind] if fails else "",
                tier=request.tier,
                region=request.region,
                client=request.client,
            )
            for request, (tokens, first, duration, fails, kind) in zip(requests, rest, strict=True)
        ]
