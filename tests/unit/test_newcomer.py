"""What CONTRIBUTING.md says of additions is true: each has one place, and works from there.

For each row of its table a patch is applied to a copy of the packages. It may touch only what
the row names, and what it adds has to work in a process of its own.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from fake_run import fake_run
from paths import ROOT

PACKAGES = ("deeptool", "hpc")

# A dataset of ten samples, stored in memory by the tests' own helper.
STORED = """
import numpy as np
from memory_store import MemoryStore
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.reader.stored_dataset import StoredDataset

memory = MemoryStore()
spec = Spec(Leaf("int64", (None,)))
stored = memory.upload("u", [(np.arange(6),), (np.arange(6, 10),)], spec=spec)
"""

FILES_STORE = r'''"""Records as files of a folder, with their headers beside them."""

from contextlib import contextmanager
from pathlib import Path

from deeptool.codec.records import parse_headers
from deeptool.store.record_store import StoredRecord


class FilesStore:
    def __init__(self, folder):
        self.folder = Path(folder)

    def write(self, lane, record):
        path = self.folder / f"{lane.topic}.{lane.partition}.{record.offset}"
        path.write_bytes(record.value)
        headers = "".join(f"{k} {v.decode()}\n" for k, v in record.header.to_kafka())
        path.with_name(path.name + ".headers").write_text(headers)

    def columns(self, stored, epoch, spec):
        return None

    @contextmanager
    def open_pass(self, order, *, window, queue_bytes, meter):
        yield FilesPass(self.folder, order, meter)


class FilesPass:
    def __init__(self, folder, order, meter):
        self.folder, self.meter, self.offsets = folder, meter, {}
        for block in order:
            self.offsets.setdefault(block.lane, []).extend(range(block.start, block.stop))

    def take_record(self, lane):
        offset = self.offsets[lane].pop(0)
        path = self.folder / f"{lane.topic}.{lane.partition}.{offset}"
        lines = path.with_name(path.name + ".headers").read_text().splitlines()
        header = parse_headers([(k, v.encode()) for k, _, v in (s.partition(" ") for s in lines)])
        value = path.read_bytes()
        self.meter.count(records=1, samples=header.count, size=len(value))
        return StoredRecord(offset, None, value, header)
'''

PRETEND_BACKEND = '''"""A backend on which every process is complete as soon as it is started."""

import time
from dataclasses import replace

from hpc.campaign.backend_traits import BackendTraits
from hpc.run.backend import Seen, Stopped


class PretendBackend:
    traits = BackendTraits()

    def render(self, campaign, plan):
        return "pretends to run: " + " ".join(task.name for task in plan.tasks)

    def observe(self, folder, state, *, ask=True):
        return state

    def look(self, folder, state):
        return Seen(state)

    def check(self, campaign, screen):
        pass

    def end_earlier(self, folder, state, check):
        pass

    def start(self, context, state):
        now = time.time()
        tasks = {
            name: replace(task, state="complete", start=now, end=now, exit_code=0)
            for name, task in state.tasks.items()
        }
        state = replace(state, state="complete", tasks=tasks, finished=now)
        context.folder.write_state(state)
        return state

    def watch(self, context, state):
        pass

    def finish(self, context):
        return None, ()

    def down(self, folder, state):
        return Stopped()


BACKEND = PretendBackend()
'''

LISTS_FACE = '''"""Batches as nested Python lists."""

from deeptool.rows.element_form import element_form
from deeptool.rows.pass_rows import pass_rows
from deeptool.rows.read_plan import MemoryShares, ReadPlan


def list_batches(data, seed, memory_bytes=8 << 20):
    plan = ReadPlan(data.store, data.stored, MemoryShares(memory_bytes), seed=seed)
    form = element_form(plan, None, False, None)
    for leaves in pass_rows(plan, form, 0, data.meter):
        yield [leaf.tolist() for leaf in leaves]
'''


def places(addition: str) -> list[str]:
    """The files and folders that CONTRIBUTING.md names for an addition."""
    for row in re.findall(r"^\| .* \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE):
        name, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        if name == addition:
            return [place for cell in cells for place in re.findall(r"`([^`]*/[^`]*)`", cell)]
    raise LookupError(f"CONTRIBUTING.md says nothing of {addition}")


class Checkout:
    """A copy of both packages, with what was done to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in PACKAGES:
            shutil.copytree(
                ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
            )

    def write(self, file: str, text: str) -> None:
        (self.root / file).parent.mkdir(exist_ok=True)
        (self.root / file).write_text(text)

    def insert(self, file: str, before: str, text: str) -> None:
        """Put `text` before the first place that holds `before`."""
        old = (self.root / file).read_text()
        assert before in old
        (self.root / file).write_text(old.replace(before, text + before, 1))

    def touches_only(self, addition: str, *names: str) -> None:
        """The patch is these files, each in a place that CONTRIBUTING.md names."""
        assert self.touched() == sorted(names)
        named = [place.replace("NAME", "pretend") for place in places(addition)]
        for name in names:
            assert any(name == p or (p.endswith("/") and name.startswith(p)) for p in named), name
        # Nothing is named without need; of deeptool/commands/ and hpc/commands/ one is enough.
        for place in named:
            used = place.replace("hpc/commands/", "deeptool/commands/")
            assert any(name.startswith(used) for name in names), place

    def touched(self) -> list[str]:
        files = (file for package in PACKAGES for file in (self.root / package).rglob("*.py"))
        names = [str(file.relative_to(self.root)) for file in files]
        return sorted(
            name
            for name in names
            if not (ROOT / name).exists()
            or not filecmp.cmp(ROOT / name, self.root / name, shallow=False)
        )

    def runs(self, code: str) -> str:
        """What a fresh Python prints that imports the copy."""
        # Coverage would look for the copy's files when they are gone.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        path = os.pathsep.join(map(str, (self.root, ROOT / "tests/helpers")))
        environment |= {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-c", dedent(code)],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deeptool(self, *arguments: str) -> str:
        return self.runs(f"from deeptool.cli import cli; cli({list(arguments)!r})")

    def hpc(self, *arguments: str) -> str:
        return self.runs(f"from hpc.cli import cli; cli({list(arguments)!r})")

    def launch(self, *arguments: str) -> str:
        """A launch that asks no TensorFlow what the settings make."""
        return self.runs(
            f"""
            import os
            from functools import partial
            from fake_launch import programs
            from hpc.commands import launch
            os.environ["FAKE_STORE"] = "."
            for name in ("launch", "dry_run"):
                setattr(launch, name, partial(getattr(launch, name), programs=programs))
            launch.command({list(arguments)!r})
            """
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_codec(checkout: Checkout) -> None:
    source = (ROOT / "tests/helpers/npz_codec.py").read_text()
    checkout.write("deeptool/codec/npz.py", source)
    line = '    "npz": "deeptool.codec.npz:NpzCodec",\n'
    checkout.insert("deeptool/codec/__init__.py", '    "arrow": ', line)
    checkout.touches_only("a codec", "deeptool/codec/__init__.py", "deeptool/codec/npz.py")

    assert "npz" in checkout.deeptool("produce", "--help")
    campaign = str(ROOT / "examples/campaigns/digits.toml")
    planned = checkout.hpc("render", campaign, "--set", "producers.codec=npz")
    assert "--codec npz" in planned
    printed = checkout.runs(
        """
        import numpy as np
        from deeptool.codec import make_codec
        from deeptool.codec.records import pack
        from deeptool.codec.spec import Spec
        from deeptool.codec.structure import Leaf

        codec = make_codec("npz", Spec({"x": Leaf("int64", (None, 2))}))
        records = list(pack(codec, [(np.arange(20).reshape(10, 2),)], upload="u"))
        print(*[int(codec.decode(record.value, record.key)[0].sum()) for record in records])
        """
    )
    assert printed.split() == ["190"]


def test_backend(checkout: Checkout) -> None:
    checkout.write("hpc/pretend/__init__.py", "")
    checkout.write("hpc/pretend/backend.py", PRETEND_BACKEND)
    line = '    "pretend": "hpc.pretend.backend",\n'
    checkout.insert("hpc/backends.py", '    "slurm": ', line)
    files = ("hpc/backends.py", "hpc/pretend/__init__.py", "hpc/pretend/backend.py")
    checkout.touches_only("a backend", *files)

    campaign = str(ROOT / "examples/campaigns/digits.toml")
    chosen = ("--backend", "pretend", "--run-dir", "run")
    assert "local|pretend|slurm" in checkout.hpc("launch", "--help")
    assert "pretends to run: " in checkout.launch(campaign, *chosen, "--dry-run")
    assert "everything stopped" in checkout.launch(campaign, *chosen)
    seen = json.loads(checkout.hpc("status", "run", "--json"))
    assert seen["state"] == "complete"
    assert {row["state"] for row in seen["rows"]} == {"complete"}
    assert "8 of 8 trials are complete" in checkout.launch(campaign, *chosen)
    checkout.hpc("down", "run")


def test_store(checkout: Checkout) -> None:
    checkout.write("deeptool/store/files_store.py", FILES_STORE)
    checkout.touches_only("a place that records come from", "deeptool/store/files_store.py")

    printed = checkout.runs(
        STORED
        + """
from deeptool.store.files_store import FilesStore

store = FilesStore(".")
for lane, records in memory.lanes.items():
    for record in records:
        store.write(lane, record)
memory.lanes.clear()
data = StoredDataset(store, stored)
print(*data.tf(batch_size=None).unbatch().as_numpy_iterator())
print(data.meter.samples)
"""
    )
    assert printed.split() == [*map(str, range(10)), "10"]


def test_reader_face(checkout: Checkout) -> None:
    checkout.write("deeptool/reader/list_batches.py", LISTS_FACE)
    method = """
    def lists(self, seed: int | None = None) -> Any:
        from deeptool.reader.list_batches import list_batches

        return list_batches(self, seed)

"""
    checkout.insert("deeptool/reader/stored_dataset.py", "    def tf(", method.lstrip("\n"))
    checkout.touches_only(
        "a face of the reader, for a framework",
        "deeptool/reader/list_batches.py",
        "deeptool/reader/stored_dataset.py",
    )

    printed = checkout.runs(
        STORED
        + """
import sys
data = StoredDataset(memory, stored)
print([number for (batch,) in data.lists() for number in batch])
shuffled = [number for (batch,) in data.lists(seed=1) for number in batch]
print(shuffled != sorted(shuffled), sorted(shuffled))
assert "tensorflow" not in sys.modules
"""
    )
    assert printed.splitlines() == [str([*range(10)]), f"True {[*range(10)]}"]


def test_option(checkout: Checkout) -> None:
    file = "deeptool/commands/report.py"
    option = '@click.option("--quiet", is_flag=True, help="Print nothing.")\n'
    checkout.insert(file, "@json_option", option)
    checkout.insert(file, "run_dir: Path,", "quiet: bool, ")
    checkout.insert(file, "    else:\n        click.echo(page)", "    elif quiet:\n        pass\n")
    checkout.touches_only("an option of a command", file)

    run_dir = str(fake_run(checkout.root / "run"))
    assert "--quiet" in checkout.deeptool("report", "--help")
    assert "report.html" in checkout.deeptool("report", run_dir)
    assert checkout.deeptool("report", run_dir, "--quiet") == ""


def test_report_figure(checkout: Checkout) -> None:
    section = """
        from deeptool.report.page_parts import ReportPage, ReportSection, page_section


        def _epochs(page: ReportPage) -> str:
            epochs = [trial["epochs_run"] for trial in page.summary["trials"]]
            figure = {"data": [{"type": "histogram", "x": epochs}], "layout": {"height": 200}}
            return page_section("Epochs run", page.plot("epochs", figure))


        # Between the table of trials and the hyperparameters.
        SECTION = ReportSection(place=35, draw=_epochs)
        """
    checkout.write("deeptool/report/sections/epochs_run.py", dedent(section))
    checkout.touches_only("a figure of the report", "deeptool/report/sections/epochs_run.py")

    run_dir = fake_run(checkout.root / "run")
    checkout.deeptool("report", str(run_dir))
    page = (run_dir / "report.html").read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[1:4] == ["Trials", "Epochs run", "Hyperparameters"]
    assert '"epochs": {"data": [{"type": "histogram"' in page


def test_the_whole_copy_is_used(checkout: Checkout) -> None:
    """Otherwise what works here would prove nothing."""
    for package in PACKAGES:
        assert str(checkout.root) in checkout.runs(f"import {package}; print({package}.__file__)")
    assert checkout.touched() == []
