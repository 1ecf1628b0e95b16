"""Segments that hide text in an encoding: base64, percent, hexadecimal, HTML references, rot13, reversal.

Bounded: at most `SEGMENTS_MAX` segments a text, `SEGMENT_CHARACTERS_MAX` code points each, `DEPTH_MAX` encodings
inside one another. A segment counts as decoded only if the result is mostly printable text.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import re2

SEGMENTS_MAX: Final = 8
SEGMENT_CHARACTERS_MAX: Final = 16_384
DEPTH_MAX: Final = 3
PRINTABLE_SHARE_MIN: Final = 0.9

_TRANSFORM_WORDS: Final = r"\b(?:rot ?-?13|caesar|cipher|reversed?|backwards?)\b"
ENCODED: Final = (
    r"[a-z0-9+/_-]{16}|%[0-9a-f]{2}%[0-9a-f]{2}|&#x?[0-9a-f]{2,6};|(?:[0-9a-f]{2} ){6}|(?:\\x[0-9a-f]{2}){3}|"
    + _TRANSFORM_WORDS
)
"""Signs, in lower-cased text, that decoding may find something."""


def _base64(segment: str) -> str | None:
    compact = segment.rstrip("=").replace("-", "+").replace("_", "/")
    if compact.isalpha() and (compact.islower() or compact.isupper() or compact.istitle()):
        return None  # a long word, not an encoding
    try:
        raw = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return _text(raw)


def _hexadecimal(segment: str) -> str | None:
    digits = segment.replace("\\x", "").replace(" ", "").replace(":", "")
    return _text(bytes.fromhex(digits)) if len(digits) % 2 == 0 else None


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _rot13(segment: str) -> str:
    return codecs.encode(segment, "rot13")


class Decoder(NamedTuple):
    """`sign` finds the segments; `needs`, where set, must be somewhere in the text as well.

    `hints` are cheap to look for: without one of them in the casefolded text the rest cannot match.
    """

    kind: str
    sign: Any
    decode: Callable[[str], str | None]
    hints: tuple[str, ...] = ("",)
    needs: Any = None


_WHOLE: Final = re2.compile(r"(?s).+")
DECODERS: Final = (
    Decoder("base64", re2.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}"), _base64),
    Decoder("percent", re2.compile(r"[^\s%]*(?:%[0-9A-Fa-f]{2}[^\s%]*){2,}"), unquote, ("%",)),
    Decoder("html", re2.compile(r"\S*&#[xX]?[0-9A-Fa-f]{2,6};.*"), html.unescape, ("&#",)),
    Decoder("hexadecimal", re2.compile(r"(?:(?:\\x)?[0-9A-Fa-f]{2}[ :]?){6,}"), _hexadecimal),
    Decoder("rot13", _WHOLE, _rot13, ("13", "caesar", "cipher"), re2.compile(r"(?i)\b(?:rot ?-?13|caesar|cipher)\b")),
    Decoder(
        "reversed",
        _WHOLE,
        lambda text: text[::-1],
        ("reverse", "backward"),
        re2.compile(r"(?i)\b(?:reversed?|backwards?)\b"),
    ),
)


class Decoded(NamedTuple):
    """What a segment `start:end` (of the text that was searched) says, and the encodings taken off, outermost first."""

    kind: str
    text: str
    start: int
    end: int


def _readable(text: str) -> bool:
    if len(text) < 4 or text.isprintable():
        return len(text) >= 4
    printable = sum(character.isprintable() or character.isspace() for character in text)
    return printable >= PRINTABLE_SHARE_MIN * len(text)


def _decoders(text: str) -> Iterator[Decoder]:
    folded = text.casefold()
    for decoder in DECODERS:
        if any(hint in folded for hint in decoder.hints) and (decoder.needs is None or decoder.needs.search(text)):
            yield decoder


def _segments(text: str) -> Iterator[Decoded]:
    searched = text.encode() if text.isascii() else text  # the same offsets, without RE2's way back from bytes
    for decoder in _decoders(text):
        for match in decoder.sign.finditer(searched):
            start, end = match.span()
            segment = text[start : min(end, start + SEGMENT_CHARACTERS_MAX)]
            decoded = decoder.decode(segment)
            if decoded is not None and decoded != segment and _readable(decoded):
                yield Decoded(decoder.kind, decoded, start, start + len(segment))


def decoded_segments(text: str) -> list[Decoded]:
    """Readable contents of encoded segments; offsets are those of the outermost segment in `text`. Never raises."""
    found: list[Decoded] = []
    pending = [(Decoded("", text.encode("utf-8", "replace").decode("utf-8"), 0, len(text)), 0)]
    while pending and len(found) < SEGMENTS_MAX:
        outer, depth = pending.pop(0)
        for inner in _segments(outer.text):
            if len(found) == SEGMENTS_MAX:
                break
            place = (inner.start, inner.end) if depth == 0 else (outer.start, outer.end)
            whole = Decoded(f"{outer.kind}+{inner.kind}".lstrip("+"), inner.text, *place)
            found.append(whole)
            if depth + 1 < DEPTH_MAX and inner.kind not in ("rot13", "reversed"):
                pending.append((whole, depth + 1))
    return found
