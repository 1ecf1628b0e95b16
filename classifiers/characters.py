"""What a single code point becomes: compatibility folding, case, marks, look-alikes, invisible characters.

The fold works code point by code point, so the map from folded text back to the original is exact. For every code
point it is the fixed point of: NFKD (Unicode TR15), casefold, nonspacing and enclosing marks dropped, look-alikes
replaced by the Latin letter they imitate (a small subset of Unicode TR39 confusables), recomposition (so that Hangul
stays syllables). Being a fixed point, folding folded text changes nothing.

Format characters (zero-width, bidi controls, soft hyphen) vanish. "Tag" characters (U+E0020-E007E), which are
invisible yet readable by a model, become the ASCII they stand for. Surrogates, private use and controls become a
space, except that controls inside a word vanish with the format characters: they are never shown.
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Final

DISTINCT_REPLACED_MAX: Final = 16
FOLD_CACHE_CODEPOINTS_MAX: Final = 16_384
FOLD_ROUNDS_MAX: Final = 6

_LOOKALIKES: Final[dict[str, str]] = {
    # Cyrillic
    "а": "a", "в": "b", "с": "c", "ԁ": "d", "е": "e", "ё": "e", "ґ": "r", "һ": "h", "і": "i", "ї": "i", "ј": "j",
    "к": "k", "ӏ": "l", "м": "m", "н": "h", "о": "o", "р": "p", "ԛ": "q", "г": "r", "ѕ": "s", "т": "t", "у": "y",
    "ѵ": "v", "ԝ": "w", "х": "x", "ү": "y", "з": "3", "б": "6", "ь": "b", "и": "n", "п": "n", "я": "r", "є": "e",
    # Greek
    "α": "a", "β": "b", "γ": "y", "ε": "e", "η": "n", "ι": "i", "κ": "k", "μ": "u", "ν": "v", "ο": "o", "ρ": "p",
    "σ": "o", "ς": "s", "τ": "t", "υ": "u", "χ": "x", "ω": "w", "ϲ": "c", "ϳ": "j", "δ": "d", "ζ": "z",
    # Armenian, Cherokee (casefolds to the upper-case row), Hebrew punctuation-like letters
    "օ": "o", "ս": "u", "հ": "h", "ո": "n", "ց": "g", "զ": "q", "Ꭵ": "i", "Ꮃ": "w", "Ꭺ": "a", "Ꭼ": "e", "Ꮶ": "k",
    "Ꮮ": "l", "Ꭲ": "i", "Ꮪ": "s", "Ꮯ": "c", "Ꮲ": "p", "Ꮋ": "h", "Ꭰ": "d", "Ꮇ": "m", "Ꮓ": "z", "Ꮩ": "v",
    # Latin letters NFKD leaves alone
    "ı": "i", "ȷ": "j", "ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ɑ": "a", "ɡ": "g", "ɩ": "i", "ɪ": "i",
    "ʟ": "l", "ɴ": "n", "ʀ": "r", "ʙ": "b", "ᴀ": "a", "ᴄ": "c", "ᴅ": "d", "ᴇ": "e", "ɢ": "g", "ʜ": "h", "ᴊ": "j",
    "ᴋ": "k", "ᴍ": "m", "ᴏ": "o", "ᴘ": "p", "ꜱ": "s", "ᴛ": "t", "ᴜ": "u", "ᴠ": "v", "ᴡ": "w", "ʏ": "y", "ᴢ": "z",
    "ƒ": "f", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ɛ": "e", "ɔ": "c", "ə": "e", "ɓ": "b", "ɗ": "d", "ƙ": "k",
    "ǃ": "!", "ǀ": "l", "ⅼ": "l", "∣": "l", "׀": "l",
    # punctuation that words lean on
    "’": "'", "‘": "'", "ʼ": "'", "＇": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "·": ".", "•": ".", "․": ".", "∙": ".", "⁄": "/",
    "€": "e", "£": "l", "¥": "y", "¢": "c", "©": "c", "®": "r", "§": "s",
}  # fmt: skip

_LETTER_ROWS: Final[tuple[int, ...]] = (0x1F110, 0x1F130, 0x1F150, 0x1F170, 0x1F1E6)  # boxed, circled, regional
_TAGS: Final = range(0xE0020, 0xE007F)
_DROPPED: Final[frozenset[str]] = frozenset({"Cf", "Mn", "Me"})
_BLANK: Final[frozenset[str]] = frozenset({"Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
_LAYOUT: Final[frozenset[str]] = frozenset("\t\n\r")


def _row_letters() -> dict[str, str]:
    return {chr(row + place): letter for row in _LETTER_ROWS for place, letter in enumerate(string.ascii_lowercase)}


_REPLACED: Final[dict[str, str]] = (
    _row_letters() | {chr(code): chr(code - 0xE0000).lower() for code in _TAGS} | _LOOKALIKES
)


def _fold_once(character: str) -> str:
    if (known := _REPLACED.get(character)) is not None:
        return known
    if character in _LAYOUT:
        return character
    category = unicodedata.category(character)
    if category in _DROPPED or category == "Cc":
        return ""
    if category in _BLANK:
        return " "
    parts = unicodedata.normalize("NFKD", character.casefold())
    kept = "".join(part for part in parts if unicodedata.category(part) not in _DROPPED)
    return unicodedata.normalize("NFKC", "".join(_REPLACED.get(part, part) for part in kept))


def fold_character(character: str) -> str:
    """The folded form of one code point: zero or more code points, each its own fold."""
    folded = character
    for _ in range(FOLD_ROUNDS_MAX):
        again = "".join(map(_fold_once, folded))
        if again == folded:
            break
        folded = again
    return folded


class _Table(dict[int, str]):
    """A table for `str.translate`, filled on first use of a code point and bounded."""

    def __missing__(self, code: int) -> str:
        folded = fold_character(chr(code))
        if len(self) < FOLD_CACHE_CODEPOINTS_MAX:
            self[code] = folded
        return folded


FOLD: Final = _Table()


class _WordTable(dict[int, str]):
    """For `str.translate`: letters, digits and the apostrophe stay, everything else becomes one space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        word = character if character.isalnum() or character == "'" else " "
        if len(self) < FOLD_CACHE_CODEPOINTS_MAX:
            self[code] = word
        return word


class _SeenTable(dict[int, str]):
    """For `str.translate`: the fold, with "?" (which no pattern knows) for all but ASCII, letters and digits."""

    def __missing__(self, code: int) -> str:
        seen = "".join(part if part.isascii() or part.isalnum() else "?" for part in FOLD[code])
        if len(self) < FOLD_CACHE_CODEPOINTS_MAX:
            self[code] = seen
        return seen


WORD: Final = _WordTable()
SEEN: Final = _SeenTable()
UTF8_WORDS: Final = bytes(ord(WORD[code].lower()) if code < 128 else code for code in range(256))
"""For `bytes.translate`: a text's ASCII lowered and reduced to words in one pass; what is not ASCII stays as it is."""

_STRANGE: Final = re.compile(r"[^\t\n\r -_a-~]")
"""Code points that folding may change, but for upper-case ASCII."""


def strange_characters(text: str) -> set[str]:
    """The distinct code points of a text that folding may change, but for upper-case ASCII."""
    ordinary = len(text.encode("ascii", "ignore"))
    return set(_STRANGE.findall(text) if 2 * ordinary > len(text) else text)


def replaced(text: str, strange: set[str], table: dict[int, str]) -> str:
    """`text.translate(table)` but for ordinary ASCII, which stays; quick where few code points are `strange`.

    `table` must leave its own results as they are, as `FOLD`, `SEEN` and `WORD` do.
    """
    if len(strange) > DISTINCT_REPLACED_MAX:
        return text.translate(table)
    for character in strange:
        text = text.replace(character, table[ord(character)])
    return text


def lowered(text: str) -> str:
    """ASCII letters in lower case, all else as it is."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
