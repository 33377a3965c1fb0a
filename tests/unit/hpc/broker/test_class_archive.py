"""The archive of Kafka's classes, with a Java that is a shell script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deeptool.files import lock
from hpc.broker.class_archive import class_archive, class_names_file, keep_class_names


def make_java(home: Path, script: str, version: str = "21.0.8") -> Path:
    """A Java that is a shell script, with the files that its class archive depends on."""
    for folder in ("bin", "lib"):
        (home / folder).mkdir(parents=True)
    (home / "lib" / "modules").write_text("modules")
    (home / "lib" / "classlist").write_text("java/lang/Object\n")
    (home / "release").write_text(f'IMPLEMENTOR="Somebody"\nJAVA_VERSION="{version}"\n')
    java = home / "bin" / "java"
    java.write_text("#!/bin/sh\n" + script)
    java.chmod(0o755)
    return java


COPY_NAMES = r"""
for argument; do
  case $argument in
    -XX:SharedClassListFile=*) names=${argument#*=};;
    -XX:SharedArchiveFile=*) archive=${argument#*=};;
  esac
done
cp "$names" "$archive"
"""

NOTED = """\
# NOTE: Do not modify this file.
java/lang/Object id: 0
kafka/Kafka id: 17
org/example/Other id: 18 super: 0 source: file:/tmp/other.jar
@lambda-proxy kafka/Kafka run ()Ljava/lang/Runnable; ()V REF_invokeStatic kafka/Kafka a ()V ()V
"""


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "kafka.jar").write_text("kafka")
    return folder


def note(java: Path, jars: Path, *texts: str) -> None:
    files = [jars.parent / f"noted-{number}" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    keep_class_names(class_names_file(java, jars, "kraft"), files)


def test_what_several_processes_noted_is_one_list(tmp_path: Path, jars: Path) -> None:
    java = make_java(tmp_path / "jre", "exit 3\n")
    note(java, jars, NOTED, "java/lang/Object id: 0\nkafka/Other id: 3\n")
    path = class_names_file(java, jars, "kraft")
    assert path.name == "classes-java-21.0.8-kraft.txt"
    assert path.read_text().splitlines() == [
        "java/lang/Object",
        "kafka/Kafka",
        NOTED.splitlines()[-1],
        "kafka/Other",
    ]


def test_it_is_made_once_from_what_a_start_noted(tmp_path: Path, jars: Path) -> None:
    java = make_java(tmp_path / "jre", COPY_NAMES)
    lines: list[str] = []
    assert class_archive(java, jars, "kraft", lines.append) is None
    assert lines == [], "the first start only notes"
    note(java, jars, NOTED)
    archive = class_archive(java, jars, "kraft", lines.append)
    assert archive is not None
    names = archive.read_text().splitlines()
    assert names[0] == "java/lang/Object"
    assert "kafka/Kafka" in names
    assert class_archive(java, jars, "kraft", lines.append) == archive
    assert len(lines) == 1
    assert class_archive(java, jars, "zookeeper") is None, "another start, other classes"


def test_another_java_or_other_jars_have_another_one(tmp_path: Path, jars: Path) -> None:
    java = make_java(tmp_path / "jre", COPY_NAMES)
    note(java, jars, NOTED)
    archive = class_archive(java, jars, "kraft")
    other = class_archive(make_java(tmp_path / "other", COPY_NAMES), jars, "kraft")
    os.utime(jars / "kafka.jar", (1, 1))
    copied = class_archive(java, jars, "kraft")
    assert None not in (archive, other, copied)
    assert len({archive, other, copied}) == 3
    newer = make_java(tmp_path / "newer", COPY_NAMES, version="25")
    assert class_archive(newer, jars, "kraft") is None


def test_java_does_without_one_that_cannot_be_made(tmp_path: Path, jars: Path) -> None:
    java = make_java(tmp_path / "jre", "exit 3\n")
    note(java, jars, NOTED)
    lines: list[str] = []
    assert class_archive(java, jars, "kraft", lines.append) is None
    assert "more slowly" in lines[-1]
    assert list(jars.glob("*.jsa")) == []
    # Not to be tried again at each start: the next one notes them again.
    assert not class_names_file(java, jars, "kraft").exists()


def test_nobody_waits_for_another_one_that_makes_it(tmp_path: Path, jars: Path) -> None:
    java = make_java(tmp_path / "jre", COPY_NAMES)
    note(java, jars, NOTED)
    with lock(class_names_file(java, jars, "kraft").with_suffix(".lock")):
        assert class_archive(java, jars, "kraft") is None
    assert class_archive(java, jars, "kraft") is not None


def test_names_that_cannot_be_kept_do_no_harm(tmp_path: Path, jars: Path) -> None:
    keep_class_names(jars / "nowhere" / "names.txt", [tmp_path / "never-written"])
    (tmp_path / "empty").touch()
    keep_class_names(jars / "names.txt", [tmp_path / "empty"])
    assert not (jars / "names.txt").exists()
