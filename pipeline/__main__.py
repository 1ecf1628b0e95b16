"""`python -m pipeline` is `tidegate`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
