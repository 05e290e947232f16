"""What a fit raises and warns of, as classes of their own: a caller need not read the message."""


class NonFiniteLossError(FloatingPointError):
    """A loss or a validation score became infinite or NaN.

    Attributes
    ----------
    what : str
        What became of which number, in which epoch.
    member : int
        Number of the network whose loss it is, where several are trained at once; else 0.
    """

    def __init__(self, message, *, what="", member=0):
        super().__init__(message)
        self.what = what
        self.member = member


class FitInterruptedWarning(UserWarning):
    """Ctrl-C ended a fit after its first epoch; the estimator is fitted with the weights so far."""
