"""What the command line says instead of a traceback."""

import difflib
from contextlib import contextmanager


class HarnessError(Exception):
    """Something that the caller can put right; its message says how."""


def unknown(what, name, choices):
    """Return the message for a name that is none of ``choices``, with the nearest that is."""
    near = difflib.get_close_matches(name, choices, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{what} {name!r} is unknown (there are: {', '.join(choices)}){hint}"


@contextmanager
def told(what, *kinds, advice=""):
    """Raise a HarnessError, with what went wrong and an advice, in place of errors of ``kinds``."""
    try:
        yield
    except HarnessError:
        raise
    except kinds as error:
        raise HarnessError(f"{what}: {type(error).__name__}: {error}{advice}") from error
