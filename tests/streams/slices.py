"""What slices reads: a partition's traffic."""

from tests.streams.traffic import streams

__all__ = ["streams"]
