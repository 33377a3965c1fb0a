"""Images: what is built, with which command line, when; and what their definitions hold."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from paths import ROOT

from deeptool import files
from deeptool.errors import UserError, WorkError
from hpc.broker import jars
from hpc.broker.limits import MAX_MESSAGE_BYTES, broker_limits
from hpc.broker.node import VERSION, BrokerNode
from hpc.broker.properties import broker_properties, log4j_properties, zookeeper_properties
from hpc.broker.servers import IN_IMAGE, BrokerSetup, DataState, start_order
from hpc.images import builder, parts
from hpc.images.parts import ImageOptions
from hpc.processes.certificates import certificates

DEFINITIONS = {name: (ROOT / "recipes" / f"{name}.def").read_text() for name in builder.NAMES}
DEBIAN = ImageOptions(bootstrap="debootstrap", mirror="http://mirror.example/debian")


# ------------------------------------------------------------------ options and command lines


def test_arguments_of_each_bootstrap() -> None:
    assert parts.arguments("kafka", ImageOptions()) == {
        "bootstrap": "docker",
        "version": VERSION,
    }
    assert parts.arguments("kafka", DEBIAN) == {
        "bootstrap": "debootstrap",
        "from": "",
        "mirror": "http://mirror.example/debian",
        "version": VERSION,
    }
    trusted = Path("/etc/ssl/certs/ca.crt")
    assert parts.arguments("tensorflow", ImageOptions(base="python:3.11-slim"), trusted) == {
        "bootstrap": "docker",
        "from": "python:3.11-slim",
        "tensorflow": "cuda",
        "environment": "latest",
        "certificates": "/mnt/ca.crt",
    }


def test_command_line() -> None:
    assert builder.build_argv(
        "/usr/bin/apptainer",
        Path("build/.kafka.sif"),
        Path("recipes/kafka.def"),
        {"bootstrap": "docker", "from": ""},
        Path("/certificates/ca.crt"),
    ) == [
        "/usr/bin/apptainer",
        "build",
        "--force",
        "--fakeroot",
        "--bind",
        "/certificates:/mnt",
        "--build-arg=bootstrap=docker",
        "--build-arg=from=",
        "build/.kafka.sif",
        "recipes/kafka.def",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bootstrap": "podman"}, r"BOOTSTRAP is unknown\n  seen: podman\n  valid: docker, "),
        ({"tensorflow": "gpu"}, "TENSORFLOW is unknown"),
        ({"environment": "old"}, "ENVIRONMENT is unknown"),
        ({"bootstrap": "localimage"}, "needs an image file as FROM"),
        ({"bootstrap": "localimage", "base": "/nowhere.sif"}, "seen: /nowhere.sif"),
        ({"bootstrap": "debootstrap"}, "as MIRROR"),
    ],
)
def test_bad_options(values: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageOptions(**values)  # type: ignore[arg-type]


def test_certificates_are_those_that_pip_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("hpc.processes.certificates._CERTIFICATES", (str(tmp_path / "usual"),))
    assert certificates() is None
    (tmp_path / "usual").touch()
    assert certificates() == tmp_path / "usual"
    (tmp_path / "own").touch()
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "own"))
    assert certificates() == tmp_path / "own"


# ------------------------------------------------------------------ what they are made of


def test_the_package_is_copied_without_what_python_compiles() -> None:
    names = parts.contents("tensorflow", ImageOptions(environment="tfio"))
    assert "deeptool-source/deeptool/cli.py" in names
    assert "deeptool-source/hpc/broker/kafka-jars.sha256" in names
    assert "deeptool-source/constraints/tfio.txt" in names
    assert "deeptool-source/constraints/latest.txt" not in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_kafka_is_copied_as_the_committed_list_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jre" / "bin").mkdir(parents=True)
    (tmp_path / "jre" / "bin" / "java").touch()
    monkeypatch.setattr(jars, "java", lambda: tmp_path / "jre" / "bin" / "java")
    monkeypatch.setattr(jars, "kafka_jars", lambda: tmp_path / "jars")
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "classes-java-unknown-kraft.txt").write_text("kafka/Kafka\n")
    for name in ("kafka", "zookeeper"):
        files = parts.contents(name, ImageOptions())
        assert files["java/bin/java"] == tmp_path / "jre" / "bin" / "java"
        libraries = {Path(part).name for part in files if part.startswith("kafka/libs/")}
        assert libraries == set(jars.sums())
        assert files["kafka/log4j.properties"] == log4j_properties()
        assert files["kafka/jars.sha256"] == ROOT / "hpc/broker/kafka-jars.sha256"
        assert files["kafka/classes.txt"] == "kafka/Kafka\n"
        assert all(path.is_file() for path in files.values() if ROOT in Path(path).parents)


def test_staged_files_are_readable_and_nothing_else_is_left(tmp_path: Path) -> None:
    program, secretive = tmp_path / "program", tmp_path / "file"
    program.write_text("run")
    program.chmod(0o700)
    secretive.write_text("text")
    secretive.chmod(0o600)
    folder = tmp_path / "stage"
    (folder / "old").mkdir(parents=True)
    parts.stage({"bin/program": program, "file": secretive, "note": "generated"}, folder)
    found = {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == {
        "bin/program": ("run", 0o755),
        "file": ("text", 0o644),
        "note": ("generated", 0o644),
    }
    assert not (folder / "old").exists()


def test_the_digest_changes_with_every_part(tmp_path: Path) -> None:
    definition, file, base = (tmp_path / name for name in ("a.def", "file", "base.sif"))
    for path in (definition, file, base):
        path.write_text(path.name)

    def digest(base: Path | None = None, **arguments: str) -> str:
        return parts.digest(definition, arguments, {"a": file, "b": "text"}, base)

    seen = [digest(), digest(x="1"), digest(x="2"), digest(base)]
    assert digest() == seen[0]
    file.write_text("changed")
    seen.append(digest())
    file.chmod(0o755)
    seen.append(digest())
    definition.write_text("changed")
    seen.append(digest())
    assert len(set(seen)) == len(seen)


# ------------------------------------------------------------------ building

# Writes its arguments into the image; fails where the definition says so.
APPTAINER = """#!/bin/sh
for argument; do definition=$image; image=$argument; done
# the last two are the image and the definition
echo "INFO:    Starting build..."
echo call >> "$(dirname "$0")/calls"
echo "$*" > "$definition"
grep -qx fail "$image" && { echo "FATAL:   no such base"; exit 255; }
exit 0
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout, and an apptainer that only counts."""
    root = tmp_path / "checkout"
    for name in ("recipes", "constraints", "deeptool", "hpc"):
        (root / name).mkdir(parents=True)
    for name in builder.NAMES:
        (root / "recipes" / f"{name}.def").write_text(f"# {name}")
    starters = ("start_kafka_producer.py", "experiments_manager.py")
    top = ("pyproject.toml", "LICENSE", "README.md", *starters)
    for name in (*top, "constraints/latest.txt", "deeptool/a.py"):
        (root / name).write_text(name)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apptainer").write_text(APPTAINER)
    (programs / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(builder, "_SPACE", dict.fromkeys(builder._SPACE, 0))
    return root


def build(checkout: Path, **options: object) -> tuple[list[builder.Built], list[str]]:
    lines: list[str] = []
    built = builder.build(
        ["tensorflow"],
        ImageOptions(tensorflow="cpu"),
        folder=checkout / "build",
        root=checkout,
        progress=lines.append,
        **options,  # type: ignore[arg-type]
    )
    return built, lines


def calls(checkout: Path) -> int:
    return len((checkout.parent / "bin" / "calls").read_text().splitlines())


def test_built_once_until_something_changes(checkout: Path) -> None:
    (first,), lines = build(checkout)
    data = (checkout / "build" / "tensorflow.sif").read_bytes()
    assert first == builder.Built(
        "tensorflow",
        checkout / "build" / "tensorflow.sif",
        len(data),
        hashlib.sha256(data).hexdigest(),
        new=True,
    )
    assert "--build-arg=tensorflow=cpu" in data.decode()
    assert any("Starting build" in line for line in lines)
    sums = (checkout / "build" / builder.SUMS).read_text()
    assert sums == f"{first.sha256}  tensorflow.sif\n"
    (second,), _ = build(checkout)
    assert second == dataclasses.replace(first, new=False)
    assert calls(checkout) == 1
    (checkout / "deeptool" / "a.py").write_text("changed")
    assert build(checkout)[0][0].new
    assert build(checkout, force=True)[0][0].new
    assert calls(checkout) == 3


def test_an_image_that_was_damaged_is_built_again(checkout: Path) -> None:
    build(checkout)
    (checkout / "build" / "tensorflow.sif").write_text("damaged")
    (built,), lines = build(checkout)
    assert built.new
    assert any("is not the file that was built" in line for line in lines)


def test_a_failed_build_keeps_the_image_that_was_there(checkout: Path) -> None:
    (old,), _ = build(checkout)
    (checkout / "recipes" / "tensorflow.def").write_text("fail")
    with pytest.raises(WorkError, match="could not be built") as caught:
        build(checkout)
    assert "FATAL:   no such base" in str(caught.value)
    assert "tensorflow.log" in str(caught.value)
    assert files.sha256(old.path) == old.sha256
    assert not (checkout / "build" / ".tensorflow.sif").exists()


def test_an_interrupted_build_is_told_so_as_by_a_terminal(checkout: Path) -> None:
    program = checkout.parent / "bin" / "apptainer"
    program.write_text(
        '#!/bin/sh\ntrap \'touch "$(dirname "$0")/cleaned"; exit 255\' INT\n'
        "echo 'INFO:    Starting build...'\nsleep 30 & wait\n"
    )

    def progress(line: str) -> None:
        if "Starting" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builder.build(
            ["tensorflow"],
            ImageOptions(),
            folder=checkout / "build",
            root=checkout,
            progress=progress,
        )
    assert (checkout.parent / "bin" / "cleaned").exists()
    assert not (checkout / "build" / "tensorflow.sif").exists()


def test_what_is_missing_is_one_clear_error(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no such image\n  seen: keras"):
        builder.build(["keras"], ImageOptions(), root=checkout)
    with pytest.raises(UserError, match="from a checkout"):
        builder.build(["kafka"], ImageOptions(), root=tmp_path)
    monkeypatch.setattr(builder, "_SPACE", dict.fromkeys(builder._SPACE, 10**9))
    with pytest.raises(UserError, match="set APPTAINER_TMPDIR to a folder"):
        build(checkout)
    monkeypatch.setenv("APPTAINER_TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="APPTAINER_TMPDIR is missing"):
        build(checkout)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="neither apptainer nor singularity"):
        build(checkout)


def test_the_command_ends_with_exit_code_2_without_apptainer(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hpc.cli", "images", "kafka"],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: neither apptainer nor singularity is on PATH")


def test_the_command_says_where_images_are(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from hpc.commands.images import command

    monkeypatch.setattr(builder, "contents", lambda name, options, root: {"a": "text"})
    monkeypatch.setattr(builder, "note_class_names", lambda progress: progress("noted"))
    folder = checkout / "build"
    result = CliRunner().invoke(
        command, ["kafka", "zookeeper", "--from", "", "--output", str(folder)]
    )
    assert result.exit_code == 0, result.output
    for name in ("kafka", "zookeeper"):
        record = json.loads((folder / f"{name}.sif.json").read_text())
        assert re.search(rf"{folder}/{name}\.sif  0 MB  sha256 {record['sha256']}", result.output)
    assert "built 2 of 2" in result.output


# ------------------------------------------------------------------ the definitions


@pytest.mark.parametrize("name", builder.NAMES)
def test_every_definition_has_every_section_and_default(name: str) -> None:
    text = DEFINITIONS[name]
    for section in [
        "arguments",
        "files",
        "post",
        "environment",
        "labels",
        "runscript",
        "startscript",
        "test",
        "help",
    ]:
        assert f"\n%{section}\n" in text
    defaults = dict(
        re.findall(r"^    (\w+)=(.*)$", text.split("%arguments")[1].split("%")[0], re.M)
    )
    assert set(re.findall(r"{{ (\w+) }}", text)) == set(defaults)
    assert defaults["bootstrap"] == "docker"
    assert defaults["mirror"] == ""
    assert defaults.get("version", VERSION) == VERSION
    asked = parts.arguments(name, DEBIAN, Path("ca.crt"))
    assert set(asked) | {"files"} == set(defaults) - {"osversion"}


def test_kafka_and_zookeeper_run_java_as_the_embedded_broker_does() -> None:
    setup = BrokerSetup(
        BrokerNode("zookeeper", "127.0.0.1", 1, 2, Path("/home/data")),
        *(Path("/home"), IN_IMAGE, "512m"),
    )
    zookeeper, broker = start_order(setup, DataState(False, False, ""))
    options = (ROOT / "recipes" / "jvm.options").read_text().splitlines()
    said = [line for line in options if not line.startswith("#")]
    # The class path and what depends on the place are the runscript's and %post's.
    places = ("-Xmx", "-XX:ErrorFile", "-Djava.io.tmpdir", "-Dlog4j.configuration", "-cp")
    for name, process in (("kafka", broker), ("zookeeper", zookeeper)):
        main = process.argv[-2]
        flags = [word for word in process.argv if word.startswith("-")]
        runscript = DEFINITIONS[name].split("%runscript")[1].split("%startscript")[0]
        own = re.findall(r"^ +(-\S+) \\$", runscript, re.M)
        assert len(own) == 1
        assert sorted(said + own) == sorted(f for f in flags if not f.startswith(places))
        assert f'{main} "$@"' in runscript
        for place in places[:-1]:
            assert place in runscript


def test_no_definition_or_compose_file_names_a_mirror() -> None:
    for path in (ROOT / "recipes").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert not re.search(r"https?://|\.org\b(?!\.|/)", _code(path)), path


def _code(path: Path) -> str:
    return "\n".join(
        line for line in path.read_text().splitlines() if "org.opencontainers" not in line
    )


# ------------------------------------------------------------------ compose files

DOCKER_FIELDS = {
    "image", "command", "environment", "ports", "volumes", "depends_on", "healthcheck", "restart"
}  # fmt: skip


def read_properties(name: str) -> dict[str, str]:
    lines = (ROOT / "recipes" / "compose" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_docker_compose_waits_for_health_and_names_images_that_are_public() -> None:
    services = yaml.safe_load((ROOT / "recipes" / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"kafka", "zookeeper"}
    for service in services.values():
        assert set(service) <= DOCKER_FIELDS
        assert service["healthcheck"]["test"][0] == "CMD"
        assert re.fullmatch(r"[a-z/]+:[0-9.]+", service["image"])
    assert services["kafka"]["image"].endswith(VERSION)
    assert services["kafka"]["depends_on"] == {"zookeeper": {"condition": "service_healthy"}}
    # All that ZooKeeper's image writes outlives a `down`.
    volumes = [each.partition(":")[2] for each in services["zookeeper"]["volumes"]]
    assert volumes == ["/data", "/datalog"]
    assert all(port.startswith("127.0.0.1:") for port in services["kafka"]["ports"])


def test_singularity_compose_asks_nothing_that_needs_root() -> None:
    text = (ROOT / "recipes" / "singularity-compose.yml").read_text()
    instances = yaml.safe_load(text)["instances"]
    for name, instance in instances.items():
        assert instance["network"] == {"enable": False}
        assert "ports" not in instance
        assert (ROOT / "recipes" / instance["build"]["recipe"]).name == f"{name}.def"
        assert "fakeroot" in instance["build"]["options"]
    assert list(instances) == ["zookeeper", "kafka"]
    assert instances["kafka"]["depends_on"] == ["zookeeper"]


def test_the_broker_of_the_compose_files_waits_and_keeps_what_is_stored() -> None:
    broker, zookeeper = (
        read_properties("broker.properties"),
        read_properties("zookeeper.properties"),
    )
    assert int(broker["zookeeper.connection.timeout.ms"]) >= 60_000
    assert broker["zookeeper.connect"].endswith(zookeeper["clientPort"])
    assert broker["message.max.bytes"] == str(MAX_MESSAGE_BYTES)
    node = BrokerNode("zookeeper", "127.0.0.1", 1, 2, Path("/home/data"))
    for said, text in (
        (broker, broker_properties(node, broker_limits("512m"))),
        (zookeeper, zookeeper_properties(node)),
    ):
        rendered = dict(line.split("=", 1) for line in text.splitlines())
        bounds = [name for name in rendered if "max" in name.lower() or name.startswith("num.n")]
        assert {name: said[name] for name in bounds} == {name: rendered[name] for name in bounds}
    assert broker["log.retention.ms"] == broker["log.retention.bytes"] == "-1"
    assert broker["log.dirs"] == "/var/lib/kafka"
    assert zookeeper["dataDir"] == "/var/lib/zookeeper"
