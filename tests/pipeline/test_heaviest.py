"""The heaviest organisations against the sorted list of all."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.heaviest import heaviest, ranked
from topics.records import OrganisationTokens

ORGANISATIONS = st.dictionaries(st.text(max_size=3), st.integers(0, 6), max_size=40)


@given(ORGANISATIONS, st.integers(1, 45))
def test_the_heaviest_are_the_first_of_all_sorted_by_tokens_then_name(
    organisations: dict[str, int], count: int
) -> None:
    first = sorted(organisations.items(), key=lambda item: (-item[1], item[0]))[:count]
    assert heaviest(organisations, count) == dict(first)
    assert ranked(organisations, count) == [OrganisationTokens(name, tokens) for name, tokens in first]


def test_none_are_named_when_none_are_wanted() -> None:
    assert ranked({"acme": 3, "zenith": 4}, 0) == []
