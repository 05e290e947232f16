"""The seeds of a fit."""

import secrets
from typing import Any

import numpy as np


class MemberSeeds:
    """Independent seeds of one fit; the seeds of a member do not depend on the number of members.

    The global random state of numpy is neither read nor moved.

    Parameters
    ----------
    random_state : None, int or RandomState
    n_members : int

    Attributes
    ----------
    split : int
        Seed of the held-out rows.
    order : int
        Seed of the order of training rows for statistics of the target.
    weights, training : list of int, length ``n_members``
        Seeds of the initial weights, and of batches and dropout.
    """

    def __init__(self, random_state: Any, n_members: int) -> None:
        if random_state is None:
            seed = secrets.randbits(32)
        elif isinstance(random_state, np.random.RandomState):
            seed = random_state.randint(2**31)
        else:
            seed = int(random_state)
        sequence = np.random.SeedSequence(seed)
        state = sequence.generate_state(1 + 2 * n_members)
        self.order = int(sequence.spawn(1)[0].generate_state(1)[0])
        self.split, *members = [int(number) for number in state]
        self.weights = members[::2]
        self.training = members[1::2]
