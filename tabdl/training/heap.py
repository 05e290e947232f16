"""Keeping memory that every step needs again."""

import torch

# glibc takes blocks below 32 MiB from its heap (and only such it keeps when they are freed).
_LARGEST_HEAP_BLOCK = 31 * 2**20


class HeapTrimGuard:
    """A block on top of the C heap, so that what lies below it is kept between steps.

    glibc gives memory back to the system as soon as the top of its heap is free, as it is after
    each backward pass. The next step then pays a page fault for every 4 KiB that it writes. A block
    that is set while a step holds the most memory keeps that memory for the next step. The block is
    never written, so it takes no memory itself. With another allocator it does nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cpu = device.type == "cpu"
        self._block: torch.Tensor | None = None

    def set(self) -> None:
        """Put the block on top, once."""
        if self._is_cpu and self._block is None:
            # The first block of a size may come from the system directly; freeing it moves the
            # limit up to that size.
            torch.empty(_LARGEST_HEAP_BLOCK, dtype=torch.uint8)
            self._block = torch.empty(_LARGEST_HEAP_BLOCK, dtype=torch.uint8)

    def release(self) -> None:
        """Let the heap go back to the system."""
        self._block = None
