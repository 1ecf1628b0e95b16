"""`python -m tests.e2e.slow FACTOR worker ...`: a worker whose safety stage takes FACTOR times as long as it does."""

import sys
import time
from typing import Any

from pipeline import cli
from pipeline.stages.safety import Safety

if __name__ == "__main__":
    factor, *arguments = sys.argv[1:]
    step = Safety.step

    def slowed(self: Safety, state: Any, batch: Any) -> Any:
        began = time.perf_counter()
        outputs = step(self, state, batch)
        time.sleep((time.perf_counter() - began) * (int(factor) - 1))
        return outputs

    Safety.step = slowed  # type: ignore[method-assign]
    sys.exit(cli.run(arguments))
