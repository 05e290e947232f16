"""What 'auto' means where it depends on the training rows: batch size and patience."""

import math

# 16 epochs of the paper's smallest table, California Housing: 13,209 rows in batches of 256.
_PATIENCE_STEPS = 16 * 52
_LONGEST_PATIENCE = 48
_COOLDOWN_PATIENCE_STEPS = 200


def choose_batch_size(n_rows: int) -> int:
    """Return the batch size for ``n_rows`` training rows.

    2106.11959 has 256, 512 and 1024 for small, middle and large tables, none of fewer than 13,000
    training rows.
    """
    # DIFF: below 6,400 rows the batches shrink as in TabArena's TabM, so that an epoch of a small
    # table has enough steps.
    limits = {2_800: 32, 4_500: 64, 6_400: 128, 32_000: 256, 200_000: 512}
    return next((size for limit, size in limits.items() if n_rows <= limit), 1024)


def choose_patience(n_steps: int, lr_schedule: str) -> int:
    """Return the patience in epochs of ``n_steps`` steps: 16 as in 2106.11959, or more.

    Before a cooldown half of it is enough: a score that rests at a constant learning rate has not
    seen the lower ones.
    """
    if lr_schedule == "cooldown":
        return min(max(8, math.ceil(_COOLDOWN_PATIENCE_STEPS / n_steps)), _LONGEST_PATIENCE)
    # DIFF: 16 epochs of the smallest table of the paper are 832 steps. A network with fewer stops
    # before it is done.
    return min(max(16, math.ceil(_PATIENCE_STEPS / n_steps)), _LONGEST_PATIENCE)
