import asyncio
import codecs
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tirgen.embedded.generation import GenerationRequest, SampledSequence
from tirgen.engine.protocol import Finish

EOS, SPECIAL = 0, 1
PIECES = [b"", b"", b"a", b"b", b"ab", "é".encode()[:1], "é".encode()[1:], b"```", b"\nout", b"put"]
A, B, AB, E1, E2, FENCE, OUT, PUT = range(2, 10)


def generation(tokens: list[int], **fields: Any) -> SampledSequence:
    """What these tokens make of a request, fed until it ends."""
    made = SampledSequence(
        GenerationRequest(**{"prompt": (1,), "max_tokens": 100, "seed": 0, **fields}),
        token_texts=PIECES,
        eos=frozenset({EOS}),
        progress=asyncio.Event(),
        streaming=True,
        weight_version="default",
    )
    for token in tokens:
        if not made.done:
            made.feed(token, -1.0)
    return made


def test_the_end_token_ends_without_a_stop_reason() -> None:
    made = generation([A, EOS, B])
    assert (made.whole_text(), made.finish, made.stop_reason) == ("a", Finish.STOP, None)
    assert made.token_ids == [A, EOS]


def test_the_end_token_can_be_ignored() -> None:
    made = generation([A, EOS, B], ignore_eos=True, max_tokens=3)
    assert (made.whole_text(), made.finish) == ("ab", Finish.LENGTH)


def test_a_stop_token_is_the_stop_reason_and_leaves_the_text() -> None:
    made = generation([A, FENCE], stop_token_ids=frozenset({FENCE}))
    assert (made.whole_text(), made.stop_reason) == ("a", FENCE)
    assert made.token_ids == [A, FENCE]


def test_a_stop_token_stays_in_the_text_on_request() -> None:
    made = generation([A, FENCE], stop_token_ids=frozenset({FENCE}), include_stop=True)
    assert made.whole_text() == "a```"


@pytest.mark.parametrize(("include", "text"), [(False, "a"), (True, "a```\noutput")])
def test_a_stop_string_across_tokens_cuts_the_text_and_keeps_the_tokens(
    include: bool, text: str
) -> None:
    made = generation([A, FENCE, OUT, PUT, B], stop=("```\noutput",), include_stop=include)
    assert (made.whole_text(), made.finish) == (text, Finish.STOP)
    assert made.stop_reason == "```\noutput"
    assert made.token_ids == [A, FENCE, OUT, PUT]


def test_a_stop_string_in_the_middle_of_a_token_cuts_there() -> None:
    assert generation([B, AB], stop=("ba",), include_stop=True).whole_text() == "ba"


def test_a_stop_string_may_be_a_character_of_two_tokens() -> None:
    made = generation([A, E1, E2, B], stop=("é",))
    assert (made.whole_text(), made.token_ids) == ("a", [A, E1, E2])


def test_stop_strings_wait_for_the_minimum_of_tokens() -> None:
    made = generation([A, A, A, A], stop=("a",), min_tokens=2)
    assert (made.token_ids, made.whole_text()) == ([A, A, A], "aa")


def test_a_stop_string_at_the_token_limit_counts_as_a_stop() -> None:
    made = generation([B, A], stop=("a",), max_tokens=2)
    assert (made.finish, made.stop_reason) == (Finish.STOP, "a")


def test_the_first_stop_string_of_the_list_wins() -> None:
    assert generation([AB], stop=("b", "a")).stop_reason == "b"


tokens = st.lists(st.sampled_from(range(1, len(PIECES))), max_size=40)
stops = st.lists(st.sampled_from(["a", "ba", "é", "```", "```\noutput", "put"]), max_size=3)


@given(tokens, stops, st.booleans())
def test_what_was_readable_is_never_taken_back(
    ids: list[int], stop: list[str], include: bool
) -> None:
    made = generation([], stop=tuple(stop), include_stop=include, max_tokens=len(ids) + 1)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    read, sent = "", 0
    for id_ in [*ids, EOS]:
        if not made.done:
            made.feed(id_, 0.0)
            read += decoder.decode(bytes(made.text[sent : made.readable]), final=made.done)
            sent = made.readable
    assert read == made.whole_text()


@given(tokens, stops)
def test_the_search_in_the_tail_finds_what_a_search_of_everything_finds(
    ids: list[int], stop: list[str]
) -> None:
    made = generation(ids, stop=tuple(stop))
    whole = b""
    expected = len(ids)
    for count, id_ in enumerate(ids, 1):
        whole += PIECES[id_]
        if any(needle.encode() in whole for needle in stop):
            expected = count
            break
    assert len(made.token_ids) == expected
