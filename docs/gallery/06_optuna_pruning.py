"""
Tuning with Optuna and pruning
==============================

A callback tells Optuna the score of each epoch. Optuna ends trials that fall behind.
"""

# %%
# An exception in a callback ends the fit, and ``TrialPruned`` is one.

import optuna
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from tabdl import TabMLPRegressor

optuna.logging.set_verbosity(optuna.logging.WARNING)
X, y = load_diabetes(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)


def objective(trial):
    """Return the best validation score of one configuration."""

    def report(record):
        trial.report(record["val_score"], record["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned

    model = TabMLPRegressor(
        lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        d_block=trial.suggest_categorical("d_block", [32, 64, 128]),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        n_blocks=2,
        max_epochs=25,
        callbacks=[report],
        random_state=0,
    ).fit(X_train, y_train)
    trial.set_user_attr("n_epochs", model.best_epoch_)
    return max(record["val_score"] for record in model.history_)


study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=5),
)
study.optimize(objective, n_trials=12)

# %%
# Each line is a trial. Pruned ones are grey: they cost a few epochs.

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
for trial in study.trials:
    is_pruned = trial.state == optuna.trial.TrialState.PRUNED
    values = trial.intermediate_values
    ax.plot(values.keys(), values.values(), color="0.75" if is_pruned else "C0", linewidth=1)
best = study.best_trial.intermediate_values
ax.plot(best.keys(), best.values(), color="C1", linewidth=2, label="best")
ax.set_xlabel("epoch")
ax.set_ylabel("validation score")
ax.legend(frameon=False)
ax.grid(alpha=0.3)

# %%
# The best configuration, trained once more on other held-out rows, meets the test rows.

model = TabMLPRegressor(**study.best_params, n_blocks=2, random_state=1).fit(X_train, y_train)
print(study.best_params)
print(f"R² of the test rows {model.score(X_test, y_test):.3f}")
