"""A view: one reading of a text (folded, unmasked, decoded), with the way back to the original's offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any

import msgspec

from classifiers.characters import UTF8_WORDS, WORD, replaced, strange_characters


def _blank_quotes(word: str) -> str:
    left = len(word) - len(word.lstrip("'"))
    core = word.strip("'")
    return " " * left + core + " " * (len(word) - left - len(core))


def without_quotes(words: str) -> str:
    """Apostrophes that do not stand inside a word are quotation marks: a space, one for one."""
    if "'" not in words:
        return words
    if "''" not in words:
        return f" {words} ".replace(" '", "  ").replace("' ", "  ")[1:-1]
    return " ".join(_blank_quotes(word) if "'" in word else word for word in words.split(" "))


Origins = Callable[[], Sequence[int]]
"""Where each code point of a view came from, worked out when asked: most views hold no evidence, and nobody asks."""


class View(msgspec.Struct, frozen=True):
    """One reading of a text. `text` keeps punctuation, `words()` has spaces instead, at the same places.

    `origins()[i]` is the code point offset in the original from which `text[i]` came; None means "the same offset".
    A decoded view stands as a whole for one `segment` of the original.
    """

    kind: str
    text: str
    origins: Origins | None = None
    segment: tuple[int, int] | None = None

    def words(self) -> str:
        """`text` with everything but letters, digits and apostrophes in words replaced by a space, one for one."""
        text = self.text if self.text.isascii() else replaced(self.text, strange_characters(self.text), WORD)
        return without_quotes(text.encode().translate(UTF8_WORDS).decode())

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """The half-open span of the original that `text[start:end]` came from; `start < end` inside the text."""
        if self.segment is not None:
            return self.segment
        if self.origins is None:
            return start, end
        origins = self.origins()
        return origins[start], origins[end - 1] + 1


Rewrite = Callable[[str], Iterable[tuple[str, int]]]
"""From a matched piece to its new characters, each with the offset inside the piece that it comes from."""


Edit = tuple[int, int, tuple[tuple[str, int], ...]]
"""Of a view's text a span, its new characters, and the offset inside the span that each comes from."""


def rewrite(view: View, pattern: Any, replace: Rewrite, kind: str) -> View:
    """A view in which every match of `pattern` (an RE2) is replaced; returns `view` itself if none matches."""
    text = view.text
    searched = text.encode() if text.isascii() else text  # the same offsets, without RE2's way back from bytes
    spans = [match.span() for match in pattern.finditer(searched)]
    if not spans:
        return view
    edits = [(start, end, tuple(replace(text[start:end]))) for start, end in spans]
    return View(kind, _edited(text, edits), cache(partial(_origins_after, view, edits)), view.segment)


def _edited(text: str, edits: list[Edit]) -> str:
    pieces: list[str] = []
    done = 0
    for start, end, new in edits:
        pieces.append(text[done:start])
        pieces.extend(character for character, _ in new)
        done = end
    pieces.append(text[done:])
    return "".join(pieces)


def _origins_after(view: View, edits: list[Edit]) -> Sequence[int]:
    known = range(len(view.text)) if view.origins is None else view.origins()
    pieces: list[Sequence[int]] = []
    done = 0
    for start, end, new in edits:
        pieces += known[done:start], [known[start + offset] for _, offset in new]
        done = end
    return tuple(chain(*pieces, known[done:]))
