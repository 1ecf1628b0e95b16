"""The key under which an answer may be cached: a digest over everything that can affect the answer.

A key that forgets a field answers one question with another's answer (BerriAI/litellm#9844: `reasoning_effort` was left
out). So nothing is listed in; what cannot affect the answer is listed out, and an unknown field counts.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import msgspec

NEUTRAL: frozenset[str] = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "request_id",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "timeout",
        "user",
    }
)
"""Fields of a request's body that do not change what is answered, only how it is sent, stored or billed."""

DEPTH_MAX = 64
DIGEST_BYTES = 32
_SCHEME = "tidegate-cache-1"


def key(body: Mapping[str, Any], *, model: str, version: str, epoch: int, caller: str = "") -> str:
    """A BLAKE2b-256 digest, hexadecimal.

    `body`: the request as JSON values: prompt, messages or prompt tokens, temperature, max_tokens, and whatever else it
    has. `epoch`: the model's, from the invalidations topic. `caller` scopes an answer to those who may see it; empty
    shares it among all. ValueError for what JSON cannot tell apart (NaN, infinity) or for nesting over `DEPTH_MAX`;
    TypeError for what is no JSON value.

    >>> asked = {"prompt_tokens": [9906, 1917], "temperature": 0}
    >>> key(asked, model="m", version="1", epoch=4) == key(asked | {"stream": True}, model="m", version="1", epoch=4)
    True
    >>> key(asked, model="m", version="1", epoch=4) == key(asked, model="m", version="1", epoch=5)
    False
    """
    content = {name: _canonical(value, 1) for name, value in body.items() if name not in NEUTRAL}
    named = [_SCHEME, model, version, epoch, caller, content]
    return hashlib.blake2b(msgspec.json.encode(named, order="deterministic"), digest_size=DIGEST_BYTES).hexdigest()


def _canonical(value: Any, depth: int) -> Any:
    """The same value for what means the same: 1.0 is 1."""
    if depth > DEPTH_MAX:
        raise ValueError(f"nested over {DEPTH_MAX} deep: not cacheable")
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return [_canonical(item, depth + 1) for item in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _canonical(item, depth + 1) for name, item in value.items()}
    raise TypeError(f"{type(value).__name__} is no JSON value: decode the request before asking for its key")


def _number(value: float) -> float | int:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number: not cacheable")
    return int(value) if value.is_integer() else value
