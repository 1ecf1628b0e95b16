"""One pure step a file: `step(state, batch) -> outputs`, without IO, clock or randomness."""
