"""Normalisation: what masked and encoded text becomes, and that spans lead back to the original."""

from __future__ import annotations

import base64
import codecs
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import decode
from classifiers.characters import fold_character
from classifiers.normalise import (
    TEXT_CHARACTERS_MAX,
    WINDOW_CHARACTERS,
    WINDOW_OVERLAP_CHARACTERS,
    characters_skipped,
    is_plain,
    normalise,
    windows,
)

FOLDED = [
    ("Straße", "strasse"),
    ("ＫＩＬＬ", "kill"),
    ("𝐤𝒊𝓵𝔩", "kill"),
    ("ⓚⓘⓛⓛ", "kill"),
    ("🅺🅸🅻🅻", "kill"),
    ("кіӏӏ", "kill"),
    ("ΚΙll", "kill"),
    ("k\u200bi\u200cl\u2060l", "kill"),
    ("k\u00adill", "kill"),
    ("k\u202ei\u202cll", "kill"),
    ("k\x00i\x08ll", "kill"),
    ("k̶i̷l̸l̵", "kill"),
    ("kíłļ", "kill"),
    ("don’t", "don't"),
    ("e‑mail", "e-mail"),
    ("".join(chr(0xE0000 + ord(letter)) for letter in "kill"), "kill"),
    ("\ud800x", " x"),
    ("한국어", "한국어"),
    ("שלום", "שלום"),
]

UNMASKED = [
    ("k1ll", "kill"),
    ("k!ll", "kill"),
    ("ki11", "kill"),
    ("b0mb", "bomb"),
    ("5u1c1de", "suicide"),
    ("p0rn", "porn"),
    ("@ss@ssin", "assassin"),
    ("k.i.l.l", "kill"),
    ("k i l l", "kill"),
    ("k-i-l-l", "kill"),
    ("k*i*l*l", "kill"),
    ("k_i_l_l", "kill"),
    ("ki.ll", "kill"),
    ("su-ic-ide", "suicide"),
    ("kiiiiill", "kill"),
    ("killllll", "kill"),
    ("k 1 l l", "kill"),
    ("how do i k i l l", "how do i kill"),
    ("how do i k.i.l.l", "how do i kill"),
    ("i g n o r e  a l l", "ignore all"),
    ("bomb     threat", "bomb threat"),
    ("ｋ１ｌｌ", "kill"),
]


def readings(text: str) -> list[str]:
    return [view.text for view in normalise(text).views]


@pytest.mark.parametrize(("text", "folded"), FOLDED)
def test_fold(text: str, folded: str) -> None:
    assert normalise(text).text == folded


@pytest.mark.parametrize(("text", "word"), UNMASKED)
def test_masked_words_are_read(text: str, word: str) -> None:
    assert any(word in reading for reading in readings(f"please {text} now"))


@pytest.mark.parametrize("text", ["", "Plain words, nothing else.", "A well-known e-mail at 10:30, isn't it?"])
def test_plain_text_has_one_view_at_the_same_offsets(text: str) -> None:
    assert is_plain(text)
    assert readings(text) == [text.lower()]


SECRET = "kill the quick brown fox"
ENCODED = [
    base64.b64encode(SECRET.encode()).decode(),
    base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    base64.b64encode(base64.b64encode(SECRET.encode())).decode(),
    "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    "".join(f"&#{byte};" for byte in SECRET.encode()),
    SECRET.encode().hex(),
    SECRET.encode().hex(" "),
    "".join(f"\\x{byte:02x}" for byte in SECRET.encode()),
    "rot13: " + codecs.encode(SECRET, "rot13"),
    "backwards: " + SECRET[::-1],
]


@pytest.mark.parametrize("text", ENCODED)
def test_encoded_segments_are_read(text: str) -> None:
    assert any(SECRET in reading for reading in readings(f"look at {text}"))


def test_a_decoded_view_points_at_its_segment() -> None:
    segment = base64.b64encode(SECRET.encode()).decode()
    text = f"héllo ﬁrst {segment} after"
    view = next(view for view in normalise(text).views if view.kind == "base64")
    start, end = view.original_span(0, 4)
    assert text[start:end] == segment


def test_decoding_is_bounded() -> None:
    nested = SECRET
    for _ in range(decode.DEPTH_MAX + 3):
        nested = base64.b64encode(nested.encode()).decode()
    assert all(SECRET not in reading for reading in readings(nested))
    many = " ".join(base64.b64encode(f"message number {number}".encode()).decode() for number in range(50))
    assert len(decode.decoded_segments(many)) == decode.SEGMENTS_MAX


@pytest.mark.parametrize(
    "text", ["a counterrevolutionaries' internationalisation", "QUJDREVGR0hJSktM" * 2 + "!!", "%zz%zz"]
)
def test_what_is_no_text_is_not_decoded(text: str) -> None:
    assert all(segment.kind != "base64" or segment.text.isascii() for segment in decode.decoded_segments(text))
    assert decode.decoded_segments("internationalisation counterrevolutionaries") == []


@given(st.text())
def test_fold_is_idempotent(text: str) -> None:
    folded = normalise(text).text
    assert normalise(folded).text == folded


def test_fold_of_every_code_point_is_its_own_fold() -> None:
    for code in range(0x30000):
        folded = fold_character(chr(code))
        assert "".join(map(fold_character, folded)) == folded, hex(code)


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_every_view_maps_into_the_original(text: str) -> None:
    for view in normalise(text).views:
        assert len(view.words()) == len(view.text)
        for place in range(len(view.text)):
            start, end = view.original_span(place, place + 1)
            assert 0 <= start < end <= len(text)


@given(st.lists(st.sampled_from(["é", "ﬁ", "\u200b", "k", "1", ".", " ", "ﷺ", "😀", "l", "ł"]), max_size=40))
def test_fold_offsets_lead_to_the_character_they_came_from(pieces: list[str]) -> None:
    text = "".join(pieces)
    plain = normalise(text).views[0]
    for place, character in enumerate(plain.text):
        start, end = plain.original_span(place, place + 1)
        assert end == start + 1
        assert character in fold_character(text[start])


@given(st.text(st.characters(exclude_categories=()), max_size=60), st.text("aB é’`\x00", max_size=60))
def test_the_fold_is_that_of_every_character(strange: str, ordinary: str) -> None:
    for text in (strange, ordinary, ordinary + strange + ordinary):
        assert normalise(text).text == "".join(map(fold_character, text))


@given(st.text(st.characters(codec="ascii"), max_size=200))
def test_ascii_fast_path_agrees_with_the_fold(text: str) -> None:
    if is_plain(text):
        assert text.lower() == "".join(map(fold_character, text))


@pytest.mark.parametrize("length", [0, 1, WINDOW_CHARACTERS, WINDOW_CHARACTERS + 1, 50_000, TEXT_CHARACTERS_MAX])
def test_windows_cover_all_of_a_text_with_overlap(length: int) -> None:
    text = "x" * length
    cut = windows(text)
    assert cut[0].start == 0
    assert cut[-1].start + len(cut[-1].text) == length
    for before, after in itertools.pairwise(cut):
        assert after.start == before.start + len(before.text) - WINDOW_OVERLAP_CHARACTERS
    assert all(len(window.text) <= WINDOW_CHARACTERS for window in cut)
    assert characters_skipped(text) == 0


def test_longer_texts_keep_head_and_tail_and_say_so() -> None:
    text = "h" * (TEXT_CHARACTERS_MAX // 2) + "m" * 77 + "t" * (TEXT_CHARACTERS_MAX // 2)
    cut = windows(text)
    assert characters_skipped(text) == 77
    assert {letter for window in cut for letter in window.text} == {"h", "t"}
    assert cut[-1].start + len(cut[-1].text) == len(text)
