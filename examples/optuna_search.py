"""Let Optuna choose the hyperparameters of trials that all read one stored dataset.

python examples/optuna_search.py localhost:9092
"""

import math
import sys
from pathlib import Path

import optuna

import deeptool

servers = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
settings = Path(__file__).parent / "regression" / "mysettings_curve_fitting.py"


def objective(trial):
    hparams = {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        "hidden_neurons": trial.suggest_int("hidden_neurons", 4, 64),
    }
    result = deeptool.train(settings, hparams=hparams, servers=servers, kafka=True)
    return result.best.get("val_loss", math.nan)  # Optuna counts NaN as a failed trial.


study = optuna.create_study()
study.optimize(objective, n_trials=4, catch=deeptool.WorkError)
print(f"best: {study.best_params}, val_loss {study.best_value:.4g}")
