"""Which texts of a batch need a closer look: a few searches over all of them joined, so that harmless ones cost little.

Twice: first the texts as they are. In the second sieve is what showed a sign of masking or encoding, and there the
readings of `unmask` are searched as well. A text may be left alone when in no reading its words hold all the concepts
of a rule, and nothing in it decodes: the closer look could find nothing then. The sieve may let a text through that
turns out harmless; it never holds one back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import re2

from classifiers.characters import SEEN, UTF8_WORDS, replaced, strange_characters
from classifiers.decode import ENCODED, decoded_segments
from classifiers.lexicon import Lexicon
from classifiers.normalise import CONTROLS, fold
from classifiers.unmask import MASKED, unmasked
from classifiers.views import View, without_quotes

TEXTS_JOINED_MAX: Final = 256
CHARACTERS_JOINED_MAX: Final = 4_096
"""Longer texts get the closer look at once, so that what is joined stays small (and in the processor's cache)."""

_BETWEEN: Final = b" \xff "
"""Spaces, as words want, around a byte that is not in UTF-8 and that no pattern knows."""
_BETWEEN_FOLDED: Final = " \x01 "
"""The same in text: folding has taken out all controls of this kind, and no reading takes out this one."""

_ENCODED_ANYWHERE: Final = ENCODED.replace(r"\b", "")
"""Folding may glue a letter to a word (an accented one, say), so what was a whole word may be part of one."""
_SUSPECT: Final = re2.compile(f"(?i){CONTROLS}|{MASKED}|{_ENCODED_ANYWHERE}".encode())
_MASKED: Final = re2.compile(MASKED.encode())
_ENCODED: Final = re2.compile(_ENCODED_ANYWHERE.encode())


class _Joined:
    """Texts of UTF-8 in one, with the place at which each begins."""

    def __init__(self, texts: list[bytes]) -> None:
        self.text = b" " + _BETWEEN.join(texts) + b" "
        self.starts = list(accumulate((len(text) + len(_BETWEEN) for text in texts), initial=0))

    def with_match(self, pattern: Any) -> Iterator[int]:
        """The numbers of the texts in which a pattern matches, each once: the search goes on in the next text."""
        match = pattern.search(self.text)
        while match is not None:
            after = bisect_right(self.starts, match.start())
            yield after - 1
            match = pattern.search(self.text, self.starts[after])

    def with_complete_rule(self, lexicon: Lexicon) -> Iterator[int]:
        """The numbers of the texts whose words hold all the concepts of a rule."""
        self.text = self.text.translate(UTF8_WORDS)
        for number in list(self.with_match(lexicon.triggers)):  # one automaton after the other, for the cache
            words = self.text[self.starts[number] + 1 : self.starts[number + 1] + 1 - len(_BETWEEN)].decode()
            if lexicon.some_rule_complete(without_quotes(words)):
                yield number


def texts_to_look_at(texts: Sequence[str], lexicon: Lexicon) -> Iterator[int]:
    """The places of those texts that may hold evidence."""
    short = [place for place, text in enumerate(texts) if len(text) <= CHARACTERS_JOINED_MAX]
    if len(short) < len(texts):
        yield from (place for place, text in enumerate(texts) if len(text) > CHARACTERS_JOINED_MAX)
    for start in range(0, len(short), TEXTS_JOINED_MAX):
        places = short[start : start + TEXTS_JOINED_MAX]
        yield from (places[number] for number in _first_sieve([texts[place] for place in places], lexicon))


def _first_sieve(texts: list[str], lexicon: Lexicon) -> Iterator[int]:
    joined = _Joined(list(map(_seen, texts)))
    suspects = set(joined.with_match(_SUSPECT))
    complete = set(joined.with_complete_rule(lexicon))
    yield from complete
    if doubtful := sorted(suspects - complete):
        yield from (doubtful[number] for number in _second_sieve([texts[number] for number in doubtful], lexicon))


def _seen(text: str) -> bytes:
    """The folded text in UTF-8, but for case: what is neither ASCII nor a letter is a question mark."""
    if text.isascii() and "`" not in text:
        return text.encode()
    return replaced(text, strange_characters(text), SEEN).encode()


def _second_sieve(texts: list[str], lexicon: Lexicon) -> set[int]:
    folded = [fold(text).text for text in texts]
    joined = _Joined(list(map(_seen, folded)))
    found = {number for number in joined.with_match(_ENCODED) if decoded_segments(texts[number])}
    masked = [number for number in joined.with_match(_MASKED) if number not in found]
    found.update(joined.with_complete_rule(lexicon))
    for reading in _readings([folded[number] for number in masked]) if masked else ():
        found.update(masked[number] for number in reading.with_complete_rule(lexicon))
    return found


def _readings(folded: list[str]) -> Iterator[_Joined]:
    """All the texts in each of the readings of all."""
    for view in unmasked(View("plain", _BETWEEN_FOLDED.join(folded))):
        yield _Joined(list(map(_seen, view.text.split(_BETWEEN_FOLDED.strip()))))
