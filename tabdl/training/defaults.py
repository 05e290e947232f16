"""What 'auto' means where it depends on the number of training rows: rows a step, and epochs
without a better score."""

import math

# 16 epochs of the paper's smallest table, California Housing: 13,209 rows in batches of 256.
_PATIENCE_STEPS = 16 * 52
_LONGEST_PATIENCE = 48


def choose_batch_size(n_rows):
    """Return the paper's batch size (256, 512, 1024 for its small, middle and large datasets) for
    ``n_rows`` training rows.

    DIFF: the paper has no table of fewer than 13,000 training rows; below 6,400 the batches shrink
    as in TabArena's TabM, so that an epoch of a small table has enough steps.
    """
    limits = {2_800: 32, 4_500: 64, 6_400: 128, 32_000: 256, 200_000: 512}
    return next((size for limit, size in limits.items() if n_rows <= limit), 1024)


def choose_patience(n_steps):
    """Return the paper's patience of 16 epochs, or more where ``n_steps``, those of an epoch, are
    fewer than in the paper.

    DIFF: 16 epochs of the paper's smallest table are 832 steps; a network that learns for fewer
    stops before it is done.
    """
    return min(max(16, math.ceil(_PATIENCE_STEPS / n_steps)), _LONGEST_PATIENCE)
