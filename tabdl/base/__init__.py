"""What an architecture of your own builds on; docs/gallery/11_own_architecture.py shows one."""

from tabdl.base.estimator import TabularEstimator as TabularEstimator
from tabdl.base.mixins import ClassifierTask as ClassifierTask, RegressorTask as RegressorTask
