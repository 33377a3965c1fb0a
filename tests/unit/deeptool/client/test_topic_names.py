"""Topic names, and what is said about those that Kafka does not take."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.client.topic_names import CATALOG_TOPIC, check_collision, check_topic, topic_name
from deeptool.errors import UserError


def test_the_name_of_a_topic() -> None:
    assert topic_name("mnist", 3, "val") == "mnist.3.val"
    assert topic_name("a-b_c.D9", 0, "train") == "a-b_c.D9.0.train"


@pytest.mark.parametrize(
    ("session", "shown"),
    [
        ("my data", "' '"),
        ("a/b", "'/'"),
        ("größe", "'ß', 'ö'"),
        ("a\n", r"'\n'"),
        ("x:y*z", "'*', ':'"),
        ("٣", "'٣'"),
    ],
)
def test_forbidden_characters_are_named(session: str, shown: str) -> None:
    with pytest.raises(UserError) as caught:
        topic_name(session, 0, "train")
    assert f"it holds {shown}" in caught.value.what
    assert session in str(caught.value.seen)
    assert "session_name" in str(caught.value.next_step)


def test_a_session_has_a_name() -> None:
    with pytest.raises(UserError, match="session_name is empty"):
        topic_name("", 0, "train")


def test_the_longest_name() -> None:
    assert len(check_topic("x" * 249)) == 249
    with pytest.raises(UserError, match="longer than 249") as caught:
        check_topic("x" * 250)
    assert "250 characters" in str(caught.value)


@pytest.mark.parametrize("topic", ["", ".", ".."])
def test_names_that_are_none(topic: str) -> None:
    with pytest.raises(UserError, match="Kafka forbids"):
        check_topic(topic)


def test_the_catalog_is_no_place_for_data() -> None:
    with pytest.raises(UserError, match="reserved for the catalog"):
        check_topic(CATALOG_TOPIC)


def test_split_and_proc_id_are_checked() -> None:
    with pytest.raises(UserError, match="unknown split"):
        topic_name("a", 0, "test")
    with pytest.raises(UserError, match="not be negative"):
        topic_name("a", -1, "train")


def test_names_that_kafka_takes_for_the_same() -> None:
    with pytest.raises(UserError) as caught:
        check_collision("a_b.0.train", ["other", "a.b.0.train"])
    assert caught.value.seen == "a_b.0.train beside a.b.0.train"
    check_collision("a_b.0.train", ["a_b.0.train", "a-b.0.train", "a_b.1.train"])


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30), st.integers(0, 10**6), st.sampled_from(["train", "val"]))
def test_every_name_is_legal_or_refused(session: str, proc_id: int, split: str) -> None:
    legal = all(c.isascii() and (c.isalnum() or c in "._-") for c in session)
    if legal:
        name = topic_name(session, proc_id, split)
        # The last two parts tell it apart from every other session, dots in the name or not.
        assert name.rsplit(".", 2) == [session, str(proc_id), split]
    else:
        with pytest.raises(UserError):
            topic_name(session, proc_id, split)
