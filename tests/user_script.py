"""What a user writes, for the type checker (``tests/test_tools.py``): every public estimator with
typical arguments, its methods and its attributes. Nothing here is run."""

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tabdl import (
    AutoIntClassifier,
    AutoIntRegressor,
    CrossValEnsembleClassifier,
    CrossValEnsembleRegressor,
    DCNv2Classifier,
    DCNv2Regressor,
    DistilledClassifier,
    DistilledRegressor,
    FTTransformerClassifier,
    FTTransformerRegressor,
    GMLPClassifier,
    GMLPRegressor,
    GreedyEnsembleClassifier,
    GreedyEnsembleRegressor,
    GrowNetClassifier,
    GrowNetRegressor,
    NODEClassifier,
    NODERegressor,
    RealMLPClassifier,
    RealMLPRegressor,
    SNNClassifier,
    SNNRegressor,
    TabMClassifier,
    TabMLPClassifier,
    TabMLPRegressor,
    TabMRegressor,
    TabNetClassifier,
    TabNetRegressor,
    TabResNetClassifier,
    TabResNetRegressor,
    greedy_weights,
)
from tabdl.embeddings import PBLD, Linear, Periodic, PiecewiseLinear

X = pd.DataFrame({"age": [20.0, 30.0, 40.0], "city": ["Bern", "Oslo", "Rome"]})
labels = np.array(["no", "yes", "no"])
values = np.array([1.0, 2.0, 3.0])
weights = np.ones(3)

# Every network, with the defaults and with what people change.
classifiers = [
    AutoIntClassifier(n_blocks=2, d_block=16, residual_dropout=0.1),
    GrowNetClassifier(newton_labels="binary", learn_boost_rate=True),
    NODEClassifier(n_blocks=2, depth=4, d_tree=3),
    TabNetClassifier(masks_see_rows=False, clip_value=None),
    DCNv2Classifier(n_cross_layers=2, n_blocks=4, cross_dropout=0.0),
    SNNClassifier(d_block=[64, 32], n_blocks=2, weight_decay=0.0),
    FTTransformerClassifier(),
    GMLPClassifier(),
    RealMLPClassifier(),
    TabMClassifier(),
    TabMLPClassifier(),
    TabResNetClassifier(),
    FTTransformerClassifier(n_blocks=2, d_block=64, n_heads=4, attention_dropout=0.1, lr=3e-4),
    GMLPClassifier(n_blocks=2, d_block=64, d_attention=16, numeric_embedding="periodic"),
    RealMLPClassifier(batch_size=128, label_smoothing=0.1, calibrate=True),
    TabMClassifier(k=8, arch="tabm", prune=True, numeric_embedding=Periodic(lite=True)),
    TabMLPClassifier(class_weight={"no": 1.0, "yes": 2.0}, scoring="roc_auc", patience=8),
    TabResNetClassifier(class_weight="balanced", optimizer="muon", ema_decay=0.99),
]
regressors = [
    AutoIntRegressor(),
    DCNv2Regressor(),
    GrowNetRegressor(optimizer="adam", correct_epochs=2),
    NODERegressor(),
    TabNetRegressor(lr_decay_rate=0.9),
    SNNRegressor(),
    FTTransformerRegressor(),
    GMLPRegressor(),
    RealMLPRegressor(),
    TabMRegressor(),
    TabMLPRegressor(),
    TabResNetRegressor(),
    FTTransformerRegressor(precision="bfloat16", compile=False, device="cpu", n_jobs=1),
    GMLPRegressor(early_stopping=False, max_epochs=10, numeric_missing="indicator"),
    RealMLPRegressor(loss="quantile", quantile=0.9, lr_schedule="cosine", warmup_epochs=1.5),
    TabMRegressor(numeric_embedding=PiecewiseLinear(bins="tree"), time_limit=60),
    TabMLPRegressor(d_block=[64, 32], n_blocks=2, callbacks=[lambda record: record["epoch"] > 5]),
    TabResNetRegressor(numeric_embedding=PBLD(), random_state=np.random.RandomState(0)),
    TabResNetRegressor(numeric_embedding=Linear(), random_state=0, verbose=1, n_members=3),
]

for classifier in classifiers:
    classifier.fit(X, labels)
    fitted = classifier.fit(
        X, labels, sample_weight=weights, X_val=X, y_val=labels, sample_weight_val=weights
    )
    predicted: np.ndarray = fitted.predict(X)
    probabilities: np.ndarray = fitted.predict_proba(X)
    logarithms: np.ndarray = fitted.predict_log_proba(X)
    print(
        predicted[0],
        (probabilities - np.exp(logarithms)).max(),
        fitted.score(X, labels),
        fitted.classes_,
    )

for regressor in regressors:
    prediction: np.ndarray = regressor.fit(X, values, sample_weight=weights).predict(X)
    print(prediction.mean() - values.mean(), regressor.score(X, values))

network = TabMLPClassifier(hidden_mix=True, clip_norm=1.0).fit(X, labels)
n_epochs: int = network.n_iter_
best: int = network.best_epoch_
size: int = network.n_parameters_
reason: str = network.stop_reason_
print(reason.upper(), size + 1, n_epochs - best, network.history_[0]["val_loss"])
print(network.member_results_[0].best_epoch + 1, network.encoder_.schema.cat_names)
print(network.module_.training, network.n_features_in_, network.feature_names_in_)
network.set_params(lr=1e-3).get_params()["lr"]
network.lr = 2 * network.lr

# Ensembles.
folds = CrossValEnsembleClassifier(network, cv=5, n_repeats=2, refit="all", together=True)
folds.fit(X, labels, sample_weight=weights, groups=[0, 1, 1])
print(folds.predict(X)[0], folds.predict_proba(X)[:, 1].mean(), folds.oof_prediction_.shape)
print(folds.predict_log_proba(X)[0, 0], folds.score(X, labels))
print(folds.scores_[0], folds.oof_score_, folds.estimators_[0], folds.classes_)
means = CrossValEnsembleRegressor(TabMRegressor(), cv=GroupKFold(3), scoring="r2").fit(X, values)
print(means.predict(X).mean(), means.score(X, values), means.histories_[0])

greedy = GreedyEnsembleClassifier(
    [LogisticRegression(), ("net", TabMLPClassifier())], cv=3, n_rounds=10, on_error="skip"
).fit(X, labels)
print(greedy.predict(X)[0], greedy.predict_proba(X)[:, 1].mean(), greedy.weights_["net"])
print(greedy.members_["net"].oof_prediction_, greedy.score_path_[-1], greedy.member_scores_)
blend = GreedyEnsembleRegressor(estimators=[Ridge(), RealMLPRegressor()], random_state=0)
blend.fit(X, values, oof_predictions={"mine": values})
print(blend.predict(X, predictions={"mine": values}).mean())
student = DistilledClassifier(TabMLPClassifier(), greedy, teacher_share=0.5, cv=3)
student.fit(X, labels, X_unlabelled=X)
print(student.estimator_, student.oof_prediction_[0], student.predict_proba(X)[0, 1])
print(DistilledRegressor(TabMLPRegressor(), Ridge()).fit(X, values).predict(X).mean())
print(greedy_weights([values, values + 1], values, "r2").sum())

# As a part of scikit-learn.
pipeline = make_pipeline(StandardScaler(), clone(network))
print(cross_val_score(pipeline, X, labels, cv=2).mean(), pipeline.fit(X, labels).predict(X))
