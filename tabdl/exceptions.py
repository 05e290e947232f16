"""The exceptions and warnings of tabdl, as classes: a caller need not read the message."""

import sys
import warnings


class NonFiniteLossError(FloatingPointError):
    """A loss or a validation score became infinite or NaN.

    Parameters
    ----------
    message : str
        The message.
    what : str
        Which number became what in which epoch.
    member : int
        Number of the network whose loss it is, where several are trained at once; else 0.
    """

    def __init__(self, message: str, *, what: str = "", member: int = 0) -> None:
        super().__init__(message)
        self.what = what
        self.member = member


class FitInterruptedWarning(UserWarning):
    """Ctrl-C ended a fit before it was complete; the estimator is fitted with what was trained."""


class InconsistentVersionWarning(UserWarning):
    """A pickle comes from another version of tabdl.

    Parameters
    ----------
    estimator_name : str
        Class of the estimator.
    original_tabdl_version : str
        Version that wrote the pickle.

    Attributes
    ----------
    current_tabdl_version : str
        Version that reads it.
    """

    def __init__(self, *, estimator_name: str, original_tabdl_version: str) -> None:
        self.estimator_name = estimator_name
        self.current_tabdl_version = tabdl_version()
        self.original_tabdl_version = original_tabdl_version
        super().__init__(
            f"{estimator_name}: pickled with tabdl {original_tabdl_version}, unpickled with "
            f"{self.current_tabdl_version}; it may fail or predict otherwise. Install tabdl "
            f"{original_tabdl_version}, or keep models with tabdl.save, whose files later versions "
            "read."
        )


def tabdl_version() -> str:
    """Return the version of tabdl."""
    # The package stands above all its modules, so that no module can import it.
    return sys.modules["tabdl"].__version__


def warn_of_version(estimator_name: str, original: str | None) -> None:
    """Warn where a pickle has another version than this one; None: it has no version."""
    if original is not None and original != tabdl_version():
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=estimator_name, original_tabdl_version=original
            ),
            stacklevel=3,
        )
