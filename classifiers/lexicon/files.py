"""Read the lexicon's TOML files: checked structs in, words expanded, clear errors for what is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

import msgspec

from classifiers.verdict import CATEGORIES

FILES: Final = ("shared", "hate", "self_harm", "violence", "sexual", "jailbreak", "context")
WORDS_PER_CONCEPT_MAX: Final = 4_000
NESTING_MAX: Final = 8


class LexiconError(ValueError):
    """A lexicon file says something that cannot be compiled; the message names the file or rule and the fault."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence for (weight > 0) or against (< 0) the categories. `within` is in characters; see the package's text."""

    name: str
    categories: tuple[str, ...]
    near: tuple[str, ...]
    weight: float
    within: int = 60
    ordered: bool = True
    unless: tuple[str, ...] = ()
    pattern: str = ""
    intent: bool = False

    @property
    def trigger(self) -> int:
        """The index in `near` of the concept that starts the search for this rule."""
        marked = [place for place, concept in enumerate(self.near) if concept.startswith("!")]
        return marked[0] if marked else len(self.near) - 1

    @property
    def concepts(self) -> tuple[str, ...]:
        """The names in `near` without the trigger's mark."""
        return tuple(concept.removeprefix("!") for concept in self.near)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    concepts: dict[str, list[str]] = {}
    rules: list[Rule] = []


def _alternatives(word: str) -> Iterator[str]:
    """`"kill{,s}"` to `"kill"`, `"kills"`; several braces multiply, none nest."""
    before, opened, rest = word.partition("{")
    if not opened:
        yield word
        return
    inside, closed, after = rest.partition("}")
    if not closed:
        raise LexiconError(f"word {word!r}: a brace is not closed")
    for choice in inside.split(","):
        for ending in _alternatives(after):
            yield before + choice + ending


def _expand(name: str, raw: dict[str, list[str]], depth: int = 0) -> Iterator[str]:
    if name not in raw:
        raise LexiconError(f"concept {name!r} is used but nowhere defined")
    if depth > NESTING_MAX:
        raise LexiconError(f"concept {name!r} refers to itself")
    for word in raw[name]:
        if word.startswith("@"):
            yield from _expand(word[1:], raw, depth + 1)
        else:
            yield from (" ".join(choice.split()) for choice in _alternatives(word))


def _malformed(words: tuple[str, ...]) -> list[str]:
    """Words that no normalised text can hold: capitals, punctuation, a star before the end."""
    kept = {word: word.removesuffix("*") for word in words}
    return [
        word
        for word, body in kept.items()
        if not body or body != body.lower() or not all(letter.isalnum() or letter in " '" for letter in body)
    ]


def _check(rule: Rule, concepts: dict[str, tuple[str, ...]]) -> None:
    unknown = [name for name in rule.concepts + rule.unless if name not in concepts]
    wrong = [category for category in rule.categories if category not in CATEGORIES]
    if unknown or wrong or not rule.near or not rule.categories or rule.weight == 0:
        raise LexiconError(
            f"rule {rule.name!r}: unknown concepts {unknown}, unknown categories {wrong}; it needs at least one known "
            "concept in `near`, one category and a weight other than 0"
        )


def parse(sources: dict[str, str]) -> tuple[dict[str, tuple[str, ...]], tuple[Rule, ...]]:
    """Concepts with their words, and rules, from the text of TOML files by name. Raises `LexiconError`."""
    raw: dict[str, list[str]] = {}
    rules: list[Rule] = []
    for name, text in sources.items():
        try:
            file = msgspec.convert(tomllib.loads(text), _File)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise LexiconError(f"lexicon file {name}: {error}") from error
        if twice := raw.keys() & file.concepts.keys():
            raise LexiconError(f"lexicon file {name}: concepts {sorted(twice)} are defined twice")
        raw |= file.concepts
        rules += file.rules
    concepts = {name: tuple(dict.fromkeys(_expand(name, raw))) for name in raw}
    if large := [name for name, words in concepts.items() if len(words) > WORDS_PER_CONCEPT_MAX]:
        raise LexiconError(f"concepts {large} have more than {WORDS_PER_CONCEPT_MAX} words; split them")
    if odd := [word for words in concepts.values() for word in _malformed(words)]:
        raise LexiconError(
            f"words {odd[:5]}: write lower-case letters, digits, spaces and ' only, a star only at the end"
        )
    if len({rule.name for rule in rules}) < len(rules):
        raise LexiconError("two rules have the same name; a span must say which one it was")
    for rule in rules:
        _check(rule, concepts)
    return concepts, tuple(rules)


def load_rules_and_concepts() -> tuple[dict[str, tuple[str, ...]], tuple[Rule, ...]]:
    """The lexicon that comes with the package."""
    folder = files("classifiers.lexicon")
    return parse({name: folder.joinpath(f"{name}.toml").read_text(encoding="utf-8") for name in FILES})
