"""`python -m pipeline` is `tidegate`."""

from pipeline.cli import main

main()
