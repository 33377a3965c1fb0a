"""Which processes fork no trials: their children could not compute.

What forked trials do is in tests/unit/hpc/processes/test_forked_service.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deeptool.errors import WorkError
from deeptool.files import write_json
from deeptool.training import forked_trial, trial_server

NO_SERVER = """
import os, socket
import keras, tensorflow
from deeptool.errors import WorkError
from deeptool.training.trial_server import TrialServer

def attempt():
    try:
        TrialServer(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), print)
    except WorkError as error:
        print(str(error).replace("\\n", ""))

link, backend = os.readlink, keras.backend.backend
os.readlink = lambda path: link(path).removeprefix(os.getcwd())
with open("dev/nvidia0"):
    attempt()
keras.backend.backend = lambda: "jax"
attempt()
keras.backend.backend = backend
tensorflow.constant(1)
attempt()
"""


def test_a_process_that_cannot_be_forked_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    done = subprocess.run(
        [sys.executable, "-c", NO_SERVER], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == [
        "the import has opened a GPU, which a child could not use",
        "Keras computes with another library  seen: jax",
        "TensorFlow has computed already, while it was imported",
    ], done.stderr


def test_a_forked_process_that_hangs_or_fails_makes_no_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    children = psutil.Process().children()
    monkeypatch.setattr(trial_server, "_TRIED_SECONDS", 0.3)
    monkeypatch.setattr(trial_server, "_computes", lambda: time.sleep(60))
    with pytest.raises(WorkError, match="hangs"):
        trial_server._try_fork()
    monkeypatch.setattr(trial_server, "_TRIED_SECONDS", 30.0)
    monkeypatch.setattr(trial_server, "_computes", lambda: False)
    with pytest.raises(WorkError, match="cannot compute"):
        trial_server._try_fork()
    monkeypatch.setattr(trial_server, "_computes", lambda: True)
    trial_server._try_fork()
    assert psutil.Process().children() == children


@pytest.mark.parametrize(
    ("files", "hidden"),
    [
        (("settings.py", "model_settings.py", "json.txt", "data/json.py"), set()),
        (("settings.py", "json.py", "numpy.cpython-311-x86_64-linux-gnu.so"), {"json", "numpy"}),
        (("settings.py", "email/__init__.py", "os/README"), {"email"}),
    ],
)
def test_modules_that_an_imported_one_would_hide(
    tmp_path: Path, files: tuple[str, ...], hidden: set[str]
) -> None:
    import email  # noqa: F401

    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    settings = str(tmp_path / "settings.py")
    assert forked_trial._hidden_modules(("train", "--usersettings", settings)) == hidden
    session = tmp_path / "trials" / "0"
    resume = ("train", "--restart_interrupted", "--model_dir", str(session))
    # Nothing to resume: the trial itself says so.
    assert forked_trial._hidden_modules(resume) == set()
    session.mkdir(parents=True)
    write_json(session / "request.json", {"settings": settings})
    assert forked_trial._hidden_modules(resume) == hidden
