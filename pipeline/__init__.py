"""The flow of stages, the drivers that run it, and the command line."""
