"""Keeps memory that is freed and needed again a moment later: fetches and batches come and go by the megabyte.

glibc gives a large block back to the kernel when it is freed, and what comes back has to be found and zeroed page by
page: over a hundred thousand page faults a minute, a tenth of the worker's time.
"""

import ctypes
from typing import Final

MiB: Final = 1 << 20
SETTINGS: Final = {
    -3: 32 * MiB,  # M_MMAP_THRESHOLD: up to this size (the most glibc takes) blocks come from the heap
    -1: 256 * MiB,  # M_TRIM_THRESHOLD: what may lie unused at the end of the heap
    -2: 32 * MiB,  # M_TOP_PAD: by how much more than needed it grows
}
"""Numbers as in glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """For the whole process, from now on. False: another C library, which has settings of its own."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(setting, value) for setting, value in SETTINGS.items())
