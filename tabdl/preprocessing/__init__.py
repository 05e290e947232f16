"""Transformers of tables, in front of any estimator."""

from tabdl.preprocessing.interactions import InteractionFeatures as InteractionFeatures
