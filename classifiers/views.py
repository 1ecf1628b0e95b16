"""A view: one reading of a text (folded, unmasked, decoded), with the way back to the original's offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from classifiers.characters import ASCII_WORDS, WORD


def _blank_quotes(word: str) -> str:
    left = len(word) - len(word.lstrip("'"))
    core = word.strip("'")
    return " " * left + core + " " * (len(word) - left - len(core))


def _without_quotes(words: str) -> str:
    """Apostrophes that do not stand inside a word are quotation marks: a space, one for one."""
    return " ".join(_blank_quotes(word) if "'" in word else word for word in words.split(" "))


class View(msgspec.Struct, frozen=True):
    """One reading of a text. `text` keeps punctuation, `words()` has spaces instead, at the same places.

    `origins[i]` is the code point offset in the original from which `text[i]` came; None means "the same offset".
    A decoded view stands as a whole for one `segment` of the original.
    """

    kind: str
    text: str
    origins: tuple[int, ...] | None = None
    segment: tuple[int, int] | None = None

    def words(self) -> str:
        """`text` with everything but letters, digits and apostrophes in words replaced by a space, one for one."""
        if self.text.isascii():
            words = self.text.encode("ascii").translate(ASCII_WORDS).decode("ascii")
        else:
            words = self.text.translate(WORD)
        return _without_quotes(words) if "'" in words else words

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """The half-open span of the original that `text[start:end]` came from; `start < end` inside the text."""
        if self.segment is not None:
            return self.segment
        if self.origins is None:
            return start, end
        return self.origins[start], self.origins[end - 1] + 1


Rewrite = Callable[[str], Iterable[tuple[str, int]]]
"""From a matched piece to its new characters, each with the offset inside the piece that it comes from."""


def rewrite(view: View, pattern: Any, replace: Rewrite, kind: str) -> View:
    """A view in which every match of `pattern` (an RE2) is replaced; returns `view` itself if none matches."""
    pieces: list[str] = []
    origins: list[int] = []
    known = view.origins if view.origins is not None else range(len(view.text))
    done = 0
    for match in pattern.finditer(view.text):
        start, end = match.span()
        pieces.append(view.text[done:start])
        origins.extend(known[done:start])
        for character, offset in replace(view.text[start:end]):
            pieces.append(character)
            origins.append(known[start + offset])
        done = end
    if done == 0:
        return view
    pieces.append(view.text[done:])
    origins.extend(known[done:])
    return View(kind, "".join(pieces), tuple(origins), view.segment)
