"""
FT-Transformer and what it attends to
=====================================

FT-Transformer makes a token of every column. Its prediction comes from one more token, [CLS]. How
much [CLS] attends to a column says how much that column counts.
"""

# %%
# In this generated table five columns decide the target, and three are noise.

import pandas as pd
from sklearn.datasets import make_friedman1
from sklearn.model_selection import train_test_split

from tabdl import FTTransformerRegressor

X, y = make_friedman1(800, n_features=8, noise=0.5, random_state=0)
used = ["sine 0", "sine 1", "square 2", "line 3", "line 4"]
X = pd.DataFrame(X, columns=[*used, "noise 5", "noise 6", "noise 7"])
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# A small transformer of the paper's kind trains in seconds.

model = FTTransformerRegressor.paper_config(
    n_blocks=1, d_block=64, n_heads=4, lr=1e-3, max_epochs=30, random_state=0
)
model.fit(X_train, y_train)
print(f"R² {model.score(X_test, y_test):.3f}")

# %%
# Attention costs one prediction. Gradients cost a few dozen. Permutation predicts anew for each
# column and needs the target. The three answers are set beside each other, each as shares of 1.

from tabdl.inspection import ImportanceDisplay, importances

methods = ["attention", "gradient", "permutation"]
shares = pd.DataFrame(
    {name: importances(model, X_test, y_test, method=name).values for name in methods},
    index=X.columns,
)
(shares / shares.sum()).round(2)

# %%
# Attention spreads over all columns more than the others do: a low share of attention says more
# than a high one. Gradients are the default of the display.

display = ImportanceDisplay.from_estimator(model, X_test)
