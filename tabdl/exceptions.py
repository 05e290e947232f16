"""The exceptions and warnings of a fit, as classes: a caller need not read the message."""


class NonFiniteLossError(FloatingPointError):
    """A loss or a validation score became infinite or NaN.

    Attributes
    ----------
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
