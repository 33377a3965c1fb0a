"""Each message that a page quotes is one that the packages print.

A page quotes messages in the first column of tables headed ``message``, and in running text in
double quotes. ``...`` stands for the rest of a message, and for whatever it fills in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from messages import texts
from paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def quoted(page: str) -> Iterator[str]:
    page = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    for table in re.findall(r"^\| message \|.*\n\|[-|]+\|\n((?:\|.*\n)*)", page, re.MULTILINE):
        yield from (row.split("|")[1].strip() for row in table.splitlines())
    prose = re.sub(r"`[^`\n]*`", "", "\n\n".join(re.findall(r"^[^|\n ].*$", page, re.MULTILINE)))
    yield from re.findall(r'"(\S+(?: \S+)+)"', prose)


def printed(quote: str) -> bool:
    """Whether one whole text of the packages is `quote`, but for what ``...`` stands for."""
    pattern = ".*".join(re.escape(piece) for piece in quote.split("..."))
    return any(re.fullmatch(pattern, text, re.DOTALL) for text in texts())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_messages_that_a_page_quotes_are_printed(page: Path) -> None:
    wrong = [quote for quote in quoted(page.read_text()) if not printed(quote)]
    assert not wrong, "no text of the packages is:\n" + "\n".join(wrong)


def test_a_message_that_is_worded_otherwise_is_found() -> None:
    page = (
        '# Page\n\nIt says "no Kafka broker answers at ...", in `"a b c"` never.\n\n'
        "| message | what to do |\n|---|---|\n| topic ... holds a complete dataset | nothing |\n"
        "| topic ... contains a complete dataset | nothing |\n\n"
        "| key | default |\n|---|---|\n| a | b |\n"
    )
    assert [(quote, printed(quote)) for quote in quoted(page)] == [
        ("topic ... holds a complete dataset", True),
        ("topic ... contains a complete dataset", False),
        ("no Kafka broker answers at ...", True),
    ]


def test_every_quote_says_enough_to_find_its_message() -> None:
    quotes = [quote for page in PAGES for quote in quoted(page.read_text())]
    assert len(quotes) > 30
    assert [quote for quote in quotes if len(re.findall(r"\w{2,}", quote)) < 2] == []
