"""Which validation score should end training? ``python -m benchmarks.stopping``.

Stops the paper's MLP and ResNet on Adult by the validation loss, which is the estimators' default,
and by accuracy, which is the paper's, and prints what each is worth on the test rows.
"""

import argparse

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from benchmarks.datasets import adult
from benchmarks.models.registry import MODELS

FIGURES = ("test accuracy", "test log loss", "test ROC AUC", "best epoch")


def measure(cls, scoring, seed, n_rows):
    """Return accuracy, log loss and ROC AUC of the test rows, and the best epoch."""
    dataset = adult()
    X, y = (part.iloc[:n_rows] for part in dataset.train)
    model = cls(numeric_embedding=None, random_state=seed, scoring=scoring)
    model.fit(X, y, X_val=dataset.val[0], y_val=dataset.val[1])
    X_test, y_test = dataset.test
    probabilities = model.predict_proba(X_test)
    predictions = model.classes_[probabilities.argmax(1)]
    return (
        accuracy_score(y_test, predictions),
        log_loss(y_test, probabilities),
        roc_auc_score(y_test, probabilities[:, 1]),
        model.best_epoch_,
    )


def main(argv=None):
    """Print mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stopping", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=None, help="training rows (default: all)")
    options = parser.parse_args(argv)
    for cls in (MODELS["mlp"].classifier, MODELS["resnet"].classifier):
        for scoring in (None, "accuracy"):
            figures = np.array(
                [measure(cls, scoring, seed, options.rows) for seed in range(options.seeds)]
            )
            spread = figures.std(0, ddof=1) if options.seeds > 1 else np.zeros(4)
            columns = zip(FIGURES, figures.mean(0), spread, strict=True)
            line = ", ".join(f"{name} {mean:.4f} ± {std:.4f}" for name, mean, std in columns)
            print(f"{cls.__name__} stopped by {scoring or 'validation loss'}: {line}", flush=True)


if __name__ == "__main__":
    main()
