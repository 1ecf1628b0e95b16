"""How rarely a long-running process lets Python's cycle collector look at everything it holds."""

import gc

THRESHOLDS = (50_000, 20, 50)
"""A full collection walks all state, 150 ms at 143 models; with Python's (700, 10, 10) one comes every few windows."""


def collect_rarely() -> None:
    """Once everything is imported. Records and states are trees: what the collector could find is little."""
    gc.freeze()  # what was imported will not be collected: the collector need not look at it again
    gc.set_threshold(*THRESHOLDS)
