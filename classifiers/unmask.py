"""Undo masking that keeps a word readable: l33t, s-e-p-a-r-a-t-o-r-s, rrrepeats. It yields further views.

Masking is ambiguous ("1" is i or l; "kiiill" has one l too few or one i too many), so there are two readings, and the
words of the plain view are always looked up too: an over-eager reading ("mp3" as "mpe") can add words, not hide any.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import Final, NamedTuple

import re2

from classifiers.views import Rewrite, View, rewrite

_SEPARATORS: Final = r"[ ._*|~+,/\-]"
_REPEATS: Final = "|".join(f"{letter}{{3,}}" for letter in string.ascii_lowercase)
_LEET: Final = r"0-9@$!|"

MASKED: Final = "|".join(
    (
        rf"[a-z][{_LEET}]+[a-z]",
        r"\b[0-9][a-z]{3}|[a-z]{2}[0-9]{1,2}\b|[@$][a-z]{2}|[a-z][@$]",
        rf"\b[a-z0-9]{_SEPARATORS}[a-z0-9@$!]{_SEPARATORS}[a-z0-9@$!]\b",
        r"[a-z][._*|~+][a-z]",
        r"\b[a-z]{1,3}-[a-z]{1,2}-[a-z]",
        r"[a-z] {2,}[a-z]",
        _REPEATS,
    )
)
"""Signs, in folded text, that unmasking may find more words. Without one the plain view is all there is."""

_BLANKS: Final = re2.compile(r"\s{2,}")
_SPELT: Final = re2.compile(
    "|".join(rf"\b[a-z0-9](?:{separator}[a-z0-9@$!]){{2,}}\b" for separator in (" ", r"[._*|~+,/\-]"))
)
_JOINED: Final = re2.compile(r"[a-z0-9]+(?:[._*|~+\-]+[a-z0-9@$]+)+")
_ENDINGS: Final = "!|.,;:?)\"'"
_REPEATED: Final = re2.compile(_REPEATS)


class Reading(NamedTuple):
    """How one reading resolves what masking leaves open."""

    kind: str
    leet: dict[int, str]
    repeats_kept: int


def _leet(one: str) -> dict[int, str]:
    return str.maketrans({"0": "o", "1": one, "3": "e", "4": "a", "5": "s", "6": "g", "7": "t", "8": "b", "9": "g",
                          "@": "a", "$": "s", "!": "i", "|": one, "2": "z"})  # fmt: skip


READINGS: Final = (Reading("unmasked", _leet("i"), 2), Reading("unmasked-tight", _leet("l"), 1))
_LEET_CHARACTER: Final = re.compile(rf"[{_LEET}]")


def _one_space(piece: str) -> Iterable[tuple[str, int]]:
    yield " ", 0


def _letters_only(piece: str) -> Iterable[tuple[str, int]]:
    return ((character, place) for place, character in enumerate(piece) if character.isalnum() or character in "@$!")


def _spelt(first_stands_alone: bool) -> Rewrite:
    """Join letters; if asked, an "i" or "a" that a space parts from the rest ("i k i l l") is a word of its own."""

    def replace(piece: str) -> Iterable[tuple[str, int]]:
        if first_stands_alone and piece[:2] in ("i ", "a "):
            yield from ((piece[0], 0), (" ", 1))
            yield from ((character, place + 2) for character, place in _letters_only(piece[2:]))
        else:
            yield from _letters_only(piece)

    return replace


def _keep(count: int) -> Rewrite:
    return lambda piece: ((character, place) for place, character in enumerate(piece[:count]))


def _unleet_word(word: str, table: dict[int, str]) -> str:
    """A word of letters and their look-alikes read as letters; numbers, and marks at the end, stay what they are."""
    core = word.rstrip(_ENDINGS)
    if core.isalpha() or core.isdigit() or not any(map(str.isalpha, core)):
        return word
    return core.translate(table) + word[len(core) :]


def _unleet(view: View, reading: Reading) -> View:
    """Every word with a look-alike in it read as letters, one for one."""
    text = view.text
    pieces: list[str] = []
    done = 0
    for match in _LEET_CHARACTER.finditer(text):
        if match.start() >= done:
            start = max(done, text.rfind(" ", done, match.start()) + 1)
            end = text.find(" ", start)
            end = len(text) if end < 0 else end
            pieces += text[done:start], _unleet_word(text[start:end], reading.leet)
            done = end
    return View(reading.kind, "".join(pieces) + text[done:], view.origins, view.segment)


def _joined(view: View) -> View:
    return rewrite(rewrite(view, _BLANKS, _one_space, "joined"), _JOINED, _letters_only, "joined")


def _joined_both_ways(view: View) -> tuple[View, View]:
    """Separators taken out; spelt-out words first, since a wider gap is what parts two of them."""
    together, apart = (rewrite(view, _SPELT, _spelt(first_stands_alone=alone), "joined") for alone in (False, True))
    first = _joined(together)
    return first, first if together.text == apart.text else _joined(apart)


def unmasked(view: View) -> list[View]:
    """The readings of a masked text that differ from it and from one another: none, one or two views."""
    found: list[View] = []
    seen = {view.text}
    for joined, reading in zip(_joined_both_ways(view), READINGS, strict=True):
        read = _unleet(rewrite(joined, _REPEATED, _keep(reading.repeats_kept), reading.kind), reading)
        if read.text not in seen:
            seen.add(read.text)
            found.append(read)
    return found
