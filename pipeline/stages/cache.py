"""The cache-invalidation agent: one epoch per model, which every cache key contains (`pipeline/cache_key.py`).

Raising a model's epoch makes all of its entries unreachable on every shard at once, without a scan and without
blocking anyone; eviction removes the dead ones in its own time (generational invalidation, as in memcached's
namespacing: https://github.com/memcached/memcached/wiki/ProgrammingTricks#deleting-by-namespace).

An epoch is never given twice: it lies above the control log's offset that caused it, above the model's last one, and
above those of models forgotten at `models_max`. What was dropped cannot be undropped, so a reversal emits nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from msgspec import Struct

from pipeline.stage import Batch, Output, State
from topics.control import Command, Deployment
from topics.fields import TEXT_CHARACTERS_MAX
from topics.records import Invalidated

EPOCHS = "epochs"


class CacheParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`models_max`: how many models' epochs are remembered."""

    models_max: int = 1_000


class Epochs(Struct):
    """The epoch of each model, least recently raised first. `floor` holds for every model not listed."""

    models: dict[str, int] = {}
    floor: int = 0

    def of(self, model: str) -> int:
        """The epoch to put into a new cache key of `model`."""
        return self.models.get(model, self.floor)

    def raised(self, model: str, offset: int, models_max: int) -> int:
        epoch = max(self.of(model), offset) + 1
        self.models.pop(model, None)
        self.models[model] = epoch
        while len(self.models) > models_max:
            self.floor = max(self.floor, self.models.pop(next(iter(self.models))))
        return epoch


class Cause(NamedTuple):
    """Why a model's entries must go."""

    model: str
    command: str
    detail: str


def _commanded(command: Command) -> Cause | None:
    if command.state != "issued" or command.action not in ("invalidate_cache", "roll_back"):
        return None
    return Cause(command.target, command.command, f"{command.action}: {command.reason}")


def _deployed(deployment: Deployment) -> Cause | None:
    return Cause(deployment.model, "", f"version {deployment.version} was deployed")


CAUSES: Mapping[type, Callable[[Any], Cause | None]] = {Command: _commanded, Deployment: _deployed}
"""Control events that may invalidate; no other does."""


class Cache:
    """Reads the control log; writes invalidations. State: one `Epochs` under the key "epochs"."""

    values: ClassVar[Any] = Epochs

    def __init__(self, params: CacheParams) -> None:
        self._params = params

    def step(self, state: State[Epochs], batch: Batch) -> list[Output]:
        epochs = state.get(EPOCHS) or Epochs()
        outputs = []
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            judge = CAUSES.get(type(event))
            cause = judge(event) if judge else None
            if cause is None:
                continue
            invalidated = Invalidated(
                id=f"{batch.partition}-{offset}-0",
                time_us=event.time_us,
                command=cause.command,
                model=cause.model,
                epoch=epochs.raised(cause.model, offset, self._params.models_max),
                detail=cause.detail[:TEXT_CHARACTERS_MAX],
            )
            outputs.append(Output(offset, "invalidations", cause.model, invalidated))
        if outputs:
            state.put(EPOCHS, epochs)
        return outputs
