"""`python -m tests.oracle.mutant NAME worker --broker ...`: a worker that does one thing wrong."""

import sys

from pipeline.cli import main
from tests.oracle.mutants import MUTANTS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    MUTANTS[name](sys.argv[sys.argv.index("--broker") + 1])
    main()
