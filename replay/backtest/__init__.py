"""Backtests: the code that runs live, over what was recorded; what it found, missed and cried wolf about; a report."""
