"""Campaigns of two users on one node at once. For root, who becomes the one and the other.

DEEPTOOL_TEST_USERS names the two: ordinary users, who can read this checkout and its Python.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaigns import SAMPLES, Bench, small
from image_builds import ROOT

pytestmark = [pytest.mark.two_users, pytest.mark.timeout(600)]

# Both on one node.
BROKER = '[slurm.broker]\nextra = { nodelist = "n1" }\n'
TRIALS = "list = [{ learning_rate = 0.005 }]"


class Account(Bench):
    """One user's campaign, in a folder of theirs."""

    def __init__(self, user: str, folder: Path) -> None:
        # Its trial goes on when the neighbour has looked around.
        self.go_on = folder / "go on"
        super().__init__(folder, small(TRIALS, BROKER, nbEpoch=4, go_on=str(self.go_on)))
        self.user = user
        home = pwd.getpwnam(user).pw_dir
        self.env |= {"HOME": home, "USER": user, "LOGNAME": user}
        subprocess.run(["chown", "-R", f"{user}:", folder], check=True)

    def argv(self, *words: object) -> list[str]:
        return ["runuser", "-u", self.user, "--", *super().argv(*words)]

    def run_as(self, *words: object) -> subprocess.CompletedProcess[str]:
        argv = ["runuser", "-u", self.user, "--", *map(str, words)]
        return subprocess.run(
            argv, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120
        )

    def ask(self, other: Account, *words: object) -> subprocess.CompletedProcess[str]:
        """``deeptool inspect`` of the other's broker."""
        deeptool = Path(sys.executable).with_name("deeptool")
        server = other.broker()["bootstrap"]
        return self.run_as(deeptool, "inspect", "--server", server, "--json", *words)

    @property
    def login(self) -> Path:
        return self.run / "secrets" / "client.properties"

    def end(self) -> None:
        self.command("down", self.run)
        for process in self.watching:
            process.communicate(timeout=60)


@pytest.fixture
def accounts() -> Iterator[list[Account]]:
    # The folders of pytest are root's alone.
    parent = Path(tempfile.mkdtemp(prefix="deeptool-users-", dir="/var/tmp"))
    parent.chmod(0o755)
    made = [Account(user, parent / user) for user in os.environ["DEEPTOOL_TEST_USERS"].split()]
    yield made
    for account in made:
        account.end()
    shutil.rmtree(parent)


def test_neither_sees_the_others_data(accounts: list[Account]) -> None:
    launches = [account.start() for account in accounts]
    for account in accounts:
        account.wait("the trial trains", lambda a=account: a.epochs(0) >= 1, 200)  # type: ignore[misc]
    one, two = accounts
    assert [account.broker()["host"] for account in accounts] == ["n1", "n1"]
    assert one.broker()["bootstrap"] != two.broker()["bootstrap"]

    for asking, asked in ((one, two), (two, one)):
        for words, said in (
            ([], "does not accept this client"),
            (["--client-properties", asking.login], "rejects this client"),
        ):
            refused = asking.ask(asked, *words)
            assert refused.returncode == 2, refused.stdout
            assert said in refused.stderr
        stolen = asking.ask(asked, "--client-properties", asked.login)
        assert stolen.returncode == 2, stolen.stdout
        assert "Permission denied" in stolen.stderr
        own = asking.ask(asking, "--client-properties", asking.login)
        assert own.returncode == 0, own.stderr
        # What a broker stores is for its user's eyes only.
        data = next(Path("/tmp").glob(f"deeptool-broker-{_uid(asked)}-*"))
        assert asking.run_as("ls", data).returncode != 0
        down = asking.command("down", asked.run)
        assert down.returncode == 2
        assert "this campaign is another user's" in down.stdout

    for account in accounts:
        account.go_on.touch()
    for account, launch in zip(accounts, launches, strict=True):
        output, _ = launch.communicate(timeout=300)
        assert launch.returncode == 0, output + account.log()
        uploads = account.json("summary.json")["uploads"]
        assert sum(each["samples"] for each in uploads) == SAMPLES
        result = account.rows()["trial-0"]["result"]
        assert result["samples_read"] == result["epochs_run"] * SAMPLES


def _uid(account: Account) -> int:
    return account.folder.stat().st_uid
