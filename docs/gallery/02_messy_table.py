"""
A messy table
=============

Text, categories, dates, booleans, several kinds of missing values: a network takes the table as it
is. There is no pipeline to write.
"""

# %%
# A table of flats. Some values are missing in each column, in the way of its own dtype.

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from tabdl import TabMLPRegressor

rng = np.random.default_rng(0)
n_rows = 600
rooms = rng.integers(1, 7, n_rows)
district = rng.choice(["harbour", "hill", "old town"], n_rows)
built = pd.Timestamp("1950-01-01") + pd.to_timedelta(rng.integers(0, 25_000, n_rows), unit="D")
flats = pd.DataFrame(
    {
        "rooms": pd.array(rooms, dtype="Int64"),
        "area": rooms * rng.uniform(15, 30, n_rows),
        "district": district,
        "heating": pd.Categorical(rng.choice(["gas", "heat pump", "oil"], n_rows)),
        "balcony": pd.array(rng.random(n_rows) < 0.4, dtype="boolean"),
        "built": built,
    }
)
rent = 12.0 * flats["area"] + 250 * (district == "old town") + 0.01 * (built.year - 1950) ** 2
rent = rent + rng.normal(0, 40, n_rows)
for number, column in enumerate(flats):
    flats.loc[number :: 9 + number, column] = None
flats.head()

# %%
# Fit. :doc:`What each dtype is read as </guide/tables>` says which columns become numbers and which
# become categories.

X_train, X_test, y_train, y_test = train_test_split(flats, rent, random_state=0)
model = TabMLPRegressor(random_state=0, max_epochs=60).fit(X_train, y_train)
print(f"R² {model.score(X_test, y_test):.3f}")

# %%
# The encoder tells how it read the columns. A date becomes days since 1970 and its parts.

schema = model.encoder_.schema
print("numbers:   ", *schema.num_names)
print("categories:", *schema.cat_names)

# %%
# Values that only ``predict`` meets are no error. A district that no training row had gets the
# mean vector of the districts. Missing values are allowed everywhere.

flat = X_test.dropna().head(1)
changes = {
    "as it is": {},
    "in the old town": {"district": "old town"},
    "in an unknown district": {"district": "airport"},
    "area missing": {"area": None},
    "twice the area": {"area": 2 * flat["area"].iloc[0]},
}
rows = pd.concat([flat.assign(**change) for change in changes.values()])
answers = pd.Series(model.predict(rows).round(), index=list(changes), name="rent")
answers.to_frame()

# %%
# The same as a picture.

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(5, 2.5), layout="constrained")
answers[::-1].plot.barh(ax=ax, xlabel="predicted rent", ylabel="")
