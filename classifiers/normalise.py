"""Text as a moderator reads it: folded, unmasked and decoded, with the way back to the original's offsets.

`normalise` gives views of a text. The first is the fold (see `characters`): case, compatibility forms, marks,
look-alikes and invisible characters are out of the way; its text is idempotent. More follow only where the text shows
signs of them: two readings of masked words (`unmask`) and the contents of encoded segments (`decode`).

An ordinary ASCII text takes a fast path of a few C calls (microseconds). Long texts are cut by `windows` into
overlapping pieces, so that the work on one call of `normalise` is bounded; beyond `TEXT_CHARACTERS_MAX` only head and
tail are read and the number of code points skipped is reported, so that nobody takes silence for innocence.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Final, NamedTuple

import msgspec
import re2

from classifiers.characters import FOLD, lowered, replaced, strange_characters
from classifiers.decode import ENCODED, decoded_segments
from classifiers.unmask import MASKED, unmasked
from classifiers.views import View

TEXT_CHARACTERS_MAX: Final = 1_048_576
WINDOW_CHARACTERS: Final = 16_384
WINDOW_OVERLAP_CHARACTERS: Final = 512

CONTROLS: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f`]"
_SUSPECT: Final = re2.compile(f"(?i){CONTROLS}|{MASKED}|{ENCODED}".encode())
_MASKED: Final = re2.compile(MASKED.encode())
_ENCODED: Final = re2.compile(f"(?i){ENCODED}".encode())


class Normalised(msgspec.Struct, frozen=True):
    """`views[0]` is the fold of the text; readings and decoded segments follow. Offsets are code points."""

    views: tuple[View, ...]

    @property
    def text(self) -> str:
        """The folded text."""
        return self.views[0].text


class Window(NamedTuple):
    """A piece of a longer text and the code point offset at which it starts."""

    text: str
    start: int


def is_plain(text: str) -> bool:
    """Whether the fold is the lower-cased text and the only view: ASCII without a sign of masking or encoding."""
    return text.isascii() and _SUSPECT.search(text.encode("ascii")) is None


def fold(text: str) -> View:
    """The folded view of a text, per code point (see `characters`)."""
    strange = strange_characters(text)
    folded = replaced(lowered(text), strange, FOLD)
    if all(len(FOLD[ord(character)]) == 1 for character in strange):
        return View("plain", folded)
    return View("plain", folded, cache(partial(_origins, text)))


def _origins(text: str) -> tuple[int, ...]:
    return tuple(place for place, character in enumerate(text) for _ in FOLD[ord(character)])


def _decoded(text: str) -> Iterator[View]:
    for segment in decoded_segments(text):
        folded = fold(segment.text)
        place = (segment.start, segment.end)
        yield View(segment.kind, folded.text, None, place)
        for reading in unmasked(folded):
            yield View(segment.kind, reading.text, None, place)


def normalise(text: str) -> Normalised:
    """All views of a text of any length and content; it never raises."""
    if is_plain(text):
        return Normalised((View("plain", text.lower()),))
    plain = fold(text)
    views = [plain]
    if _MASKED.search(plain.text.encode("utf-8")) is not None:
        views += unmasked(plain)
    if _ENCODED.search(text.encode("utf-8", "replace")) is not None:
        views += _decoded(text)
    return Normalised(tuple(views))


def windows(text: str) -> list[Window]:
    """Overlapping pieces that cover a text, or its head and tail when it is longer than `TEXT_CHARACTERS_MAX`."""
    half = TEXT_CHARACTERS_MAX // 2
    if len(text) <= TEXT_CHARACTERS_MAX:
        return _cut(text, 0)
    return _cut(text[:half], 0) + _cut(text[-half:], len(text) - half)


def characters_skipped(text: str) -> int:
    """How many code points in the middle of a text `windows` leaves out."""
    return max(0, len(text) - TEXT_CHARACTERS_MAX)


def _cut(text: str, offset: int) -> list[Window]:
    if len(text) <= WINDOW_CHARACTERS:
        return [Window(text, offset)]
    step = WINDOW_CHARACTERS - WINDOW_OVERLAP_CHARACTERS
    last = len(text) - WINDOW_OVERLAP_CHARACTERS
    return [Window(text[start : start + WINDOW_CHARACTERS], offset + start) for start in range(0, last, step)]
