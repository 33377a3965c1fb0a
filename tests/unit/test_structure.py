"""The shape of both packages: rooms, floors, sizes, names. docs/architecture.md draws it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import pytest
from draw_architecture import FILE, PLACES, SHARED, drawn
from import_graph import (
    Graph,
    circles,
    essential,
    module_imports,
    modules,
    room_imports,
    room_of,
    tree,
)
from paths import ROOT

PACKAGES = ("deeptool", "hpc")
LINES = 350
MEAN_LINES = 200
HPC_ROOMS = 10

# Modules that share their name with a module of another room, and do the same job as that one.
SAME_JOB = {
    "cli": "each package has its own command group",
    "backend": "the protocol, and each backend's implementation of it",
}
# Backends are made alike: a module of one has the name of its counterpart in the other.
BACKENDS = {"local", "slurm"}


def none_of(violations: Iterable[str]) -> None:
    found = sorted(violations)
    assert not found, "\n" + "\n".join(found)


def repeated(places: Mapping[str, list[str]]) -> list[str]:
    return [f"{name}: {', '.join(files)}" for name, files in places.items() if len(files) > 1]


def floors(package: str) -> list[list[str]]:
    """The rooms in each row of the package's table in docs/architecture.md, top row first."""
    page = (ROOT / "docs/architecture.md").read_text()
    table = re.search(rf"\| `{package}/` \|.*?\n\|[-|]+\|\n(.*?)\n\n", page, re.DOTALL)
    if table is None:
        raise LookupError(f"docs/architecture.md has no table of {package}/")
    return [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table[1].splitlines()]


def upward(graph: Graph, rows: list[list[str]]) -> list[str]:
    """The imports that do not go to a lower row."""
    row = {room: number for number, rooms in enumerate(rows) for room in rooms}
    return [
        f"{room} imports {other}"
        for room, others in graph.items()
        for other in others
        if row[other] <= row[room]
    ]


def commands(package: str) -> set[str]:
    """The names in the dict COMMANDS of the package's cli.py."""
    for node in tree(ROOT / package / "cli.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMANDS":
            return set(ast.literal_eval(node.value))
    raise LookupError(f"{package}/cli.py has no COMMANDS")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_on_the_architecture_page_and_the_other_way_round(package: str) -> None:
    shown = [room for row in floors(package) for room in row]
    assert sorted(shown) == sorted({room_of(name) for name in modules(package)} - {package})


@pytest.mark.parametrize("package", PACKAGES)
def test_unit_tests_are_in_folders_like_the_rooms_they_test(package: str) -> None:
    folders = {path.name for path in (ROOT / "tests/unit" / package).iterdir() if path.is_dir()}
    none_of(folders - {"__pycache__"} - set(room_imports(package)))
    tests = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    none_of({name for name in tests if tests.count(name) > 1})


def test_the_picture_shows_every_room_and_what_it_imports() -> None:
    picture = FILE.read_text()
    rooms = {f"{package}/{room}" for package in PACKAGES for room in room_imports(package)}
    assert set(re.findall(r'data-box="([^"]+)"', picture)) == rooms
    arrows = {
        f"{package}/{start} {package}/{end}"
        for package in PACKAGES
        for start, end in essential(drawn(package))
    }
    assert set(re.findall(r'data-arrow="([^"]+)"', picture)) == arrows
    for package in PACKAGES:
        assert set(PLACES[package]) | set(SHARED[package]) == set(room_imports(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_the_floors(package: str) -> None:
    none_of(upward(room_imports(package), floors(package)))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_between_rooms_or_modules(package: str) -> None:
    groups = circles(room_imports(package)) + circles(module_imports(package))
    none_of(f"circle: {', '.join(group)}" for group in groups)


def test_hpc_has_few_rooms_and_run_reaches_backends_through_the_registry_only() -> None:
    assert len(room_imports("hpc")) <= HPC_ROOMS
    none_of(f"run imports {name}" for name in room_imports("hpc")["run"] & {"local", "slurm"})


def test_no_command_imports_another_command() -> None:
    """What several commands share (options, say) is no command: cli.py does not list it."""
    none_of(
        f"{module} imports {other}"
        for package in PACKAGES
        for module, others in module_imports(package).items()
        if module.startswith(f"{package}.commands.")
        for other in others
        if other.startswith(f"{package}.commands.") and other.split(".")[2] in commands(package)
    )


def test_files_are_short() -> None:
    sizes = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines())
        for package in PACKAGES
        for file in modules(package).values()
    }
    none_of(f"{name} has {size} lines" for name, size in sizes.items() if size > LINES)
    assert sum(sizes.values()) / len(sizes) < MEAN_LINES


def test_no_two_modules_of_one_name() -> None:
    """A command's click module may be named as the module that does its work."""
    places = defaultdict(list)
    for package in PACKAGES:
        for name, file in modules(package).items():
            known = file.stem in SAME_JOB or file.stem == "__init__" or room_of(name) == "commands"
            if not known:
                places[file.stem].append(name)
    none_of(
        f"{stem}: {', '.join(names)}"
        for stem, names in places.items()
        if len(names) > 1 and not {room_of(name) for name in names} <= BACKENDS
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_classes_of_one_name(package: str) -> None:
    places = defaultdict(list)
    for file in modules(package).values():
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(file.relative_to(ROOT)))
    none_of(repeated(places))
