"""Training on several devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from paths import HELPERS


def test_replicas_train_as_one_device_does_and_are_resumed(tmp_path: Path) -> None:
    command = [sys.executable, str(HELPERS / "replicas.py"), str(HELPERS / "trial_settings.py")]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert outcome.returncode == 0, outcome.stderr
    alone, whole, resumed = json.loads(outcome.stdout.splitlines()[-1])
    assert whole["final"] == pytest.approx(alone["final"], rel=1e-3)
    assert resumed["final"] == pytest.approx(whole["final"], rel=1e-5)
    assert resumed["epochs_run"] == 4
    assert whole["samples_read"] >= alone["samples_read"]
    assert not whole["notes"]
    x = np.linspace(-1, 1, 16, dtype=np.float32)[:, np.newaxis]
    model = keras.models.load_model(Path(whole["session_dir"]) / "model.keras")
    error = np.mean((model.predict(x, verbose=0) - x**2) ** 2)
    assert error == pytest.approx(whole["best"]["val_loss"], rel=1e-4)
    assert (Path(whole["session_dir"]) / "saved_model" / "saved_model.pb").exists()
