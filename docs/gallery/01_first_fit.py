"""
First fit
=========

A network is an estimator of scikit-learn: construct, fit, predict.
"""

# %%
# The table has 569 tumours and 30 measurements of each. The network keeps a part of the training
# rows back, and stops when their loss no longer falls.

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from tabdl import TabMClassifier

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

model = TabMClassifier(random_state=0).fit(X_train, y_train)
print(f"accuracy {model.score(X_test, y_test):.3f}")
print(f"{model.n_iter_} epochs, the best was {model.best_epoch_}")
print(f"stopped by {model.stop_reason_}")

# %%
# ``predict_proba`` gives a probability for each class, in the order of ``classes_``.

print(model.classes_)
print(model.predict_proba(X_test.head(3)).round(3))

# %%
# The loss of each epoch is kept in ``history_``. A display draws it; the mark is the epoch whose
# weights are kept.

from tabdl.inspection import HistoryDisplay

display = HistoryDisplay.from_estimator(model)
