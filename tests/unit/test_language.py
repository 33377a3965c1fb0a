"""Pages, messages and help use one word for one thing, and words that people use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from import_graph import modules, tree
from messages import FILLED, texts_in
from paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_ONE = "one|single|line|lines|point|row|samples?|topics?|datasets?|process|replica|job|log|seconds?"
_EACH = "procID|record|trial|epoch|batch|node|leaf|task|topic|shard|partition|replica|split"
# What not to write -> what to write.
WORDS = {
    r"\banew\b": "again",
    r"\bgo(es)? on\b": "resume, continue",
    r"\btakes? up\b": "resume, continue",
    r"\bh[eo]ld(s|ing)?\b[^.]{0,60}\bagainst\b": "verify, compare with",
    r"\b(is|are|was|were) told\b": "is given, is called with, advertises",
    r"\bsum(s|med)? up\b": "summarize",
    r"\b(is|are|was|were|be) refused\b|\bwill not do\b": "reject, fail with",
    r"\bcomes? to (its|their) end\b": "completes",
    r"\bsays? of itself\b": "records, reports",
    r"\bnobody is there\b|\bis at work\b": "say what is missing, or what runs",
    rf"\b({_ONE}) a ({_EACH})\b": "per",
}


def found(text: str) -> Iterator[str]:
    for pattern, better in WORDS.items():
        for match in re.finditer(pattern, text):
            around = text[max(0, match.start() - 30) : match.end() + 30].replace("\n", " ")
            yield f"{match[0]!r}: {better} | ...{around.replace(FILLED, '...')}..."


def messages_and_help(package: str) -> Iterator[tuple[str, str]]:
    """All texts of the package, and the docstrings that its commands show as help."""
    for name, file in modules(package).items():
        place = str(file.relative_to(ROOT))
        yield from ((place, text) for text in texts_in(tree(file)))
        if f"{package}.commands" in name or name == f"{package}.cli":
            functions = [node for node in tree(file).body if isinstance(node, ast.FunctionDef)]
            yield from ((place, ast.get_docstring(each) or "") for each in functions)


def test_pages() -> None:
    wrong = [f"{page.name}: {words}" for page in PAGES for words in found(page.read_text())]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("package", ["deeptool", "hpc"])
def test_messages_and_help(package: str) -> None:
    wrong = [
        f"{file}: {words}" for file, text in messages_and_help(package) for words in found(text)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_what_not_to_write_is_found() -> None:
    text = "It goes on where it was, and is held against the digests: one topic a procID."
    assert [words.split(":")[0] for words in found(text)] == [
        "'goes on'",
        "'held against'",
        "'topic a procID'",
    ]
