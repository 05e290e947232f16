"""What the competition tool says instead of a traceback."""


class CompetitionError(Exception):
    """Something that the caller can put right; its message says how."""
