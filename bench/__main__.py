"""`make bench`, or `python -m bench [NAME ...]`: measures, and writes a table and reports/bench.json.

Figures of one run on one machine: compare ratios within a run, not runs.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.status import Status

from bench.decisions import path, quota
from bench.detection import detection
from bench.growth import growth
from bench.latency import latency
from bench.memory import memory
from bench.plan import Plan
from bench.recovery import recovery
from bench.results import Row, show, write
from bench.scale import scale
from bench.stages import stages
from bench.windows import windows

RESULT = Path("reports") / "bench.json"
REPEATS = 5
REPEATS_QUICK = 1


@dataclass(frozen=True)
class Bench:
    """`minutes`: about how long it takes with the defaults, on two cores."""

    run: Callable[[Plan], Awaitable[list[Row]]]
    minutes: int
    about: str


BENCHES: dict[str, Bench] = {
    "stages": Bench(stages, 1, "decoding and each chain of stages, in this process"),
    "detection": Bench(
        detection, 4, "detection of 1,000 series: series a minute, decision time, state, against refits"
    ),
    "windows": Bench(windows, 12, "windows end to end, events per CPU-second; --peers: ours and the peers' (an hour)"),
    "quota": Bench(quota, 6, "quota decisions end to end"),
    "path": Bench(path, 6, "the whole request path with 300-character prompts"),
    "latency": Bench(latency, 9, "request to decision at 5,000, 10,000 and 20,000 requests/s; --minutes: each"),
    "recovery": Bench(recovery, 4, "kill -9 with a million organisations, until it decides again"),
    "memory": Bench(memory, 2, "resident memory at full speed; --minutes"),
    "growth": Bench(growth, 15, "cost against organisations, models, partitions"),
    "scale": Bench(scale, 7, "one worker, then two, then more where each has two cores"),
}


def main() -> None:
    """Run what is named, or everything."""
    parser = _arguments()
    chosen = parser.parse_args()
    names = chosen.names or list(BENCHES)
    if unknown := [name for name in names if name not in BENCHES]:
        parser.error(f"no such benchmark: {', '.join(unknown)}. There are: {', '.join(BENCHES)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a topic that has just been created has no leader yet
    out = Console()
    about = "a minute each" if chosen.quick else f"{sum(BENCHES[name].minutes for name in names)} minutes"
    out.print(f"{', '.join(names)}: about {about}; Ctrl-C keeps what is done")
    with out.status("") as status:
        rows, failed = asyncio.run(_run(names, chosen, out, status))
    show(out, rows)
    out.print(f"written to {chosen.output}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _arguments() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10} {bench.about} ({bench.minutes} min)" for name, bench in BENCHES.items())
    parser = argparse.ArgumentParser(
        "python -m bench", description=listed, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all of them")
    parser.add_argument("--repeats", type=int, default=0, help=f"by default {REPEATS}; the slow ones do at most 3")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, once: to see that it runs")
    parser.add_argument("--peers", action="store_true", help="with `windows`: the peers, too, where installed")
    parser.add_argument("--minutes", type=float, help="how long `latency` (each rate) and `memory` watch")
    parser.add_argument("--output", type=Path, default=RESULT, help=f"the JSON, by default {RESULT}")
    return parser


async def _run(
    names: Sequence[str], chosen: argparse.Namespace, out: Console, status: Status
) -> tuple[list[Row], list[str]]:
    """What was measured, and the names of those that failed: the others are measured all the same."""
    repeats = chosen.repeats or (REPEATS_QUICK if chosen.quick else REPEATS)
    plan = Plan(repeats, chosen.quick, chosen.minutes, chosen.peers, _say(out, status), out.print)
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        began = time.monotonic()
        try:
            rows += await BENCHES[name].run(plan)
        except Exception:
            failed.append(name)
            out.print_exception(show_locals=False)
        out.print(f"{name}: done in {(time.monotonic() - began) / 60:.1f} min")
        write(chosen.output, rows, _options(chosen, repeats))
    return rows, failed


def _say(out: Console, status: Status) -> Callable[[str], None]:
    """A line that changes on a terminal, a line each elsewhere."""
    return status.update if out.is_terminal else out.print


def _options(chosen: argparse.Namespace, repeats: int) -> dict[str, Any]:
    return {"repeats": repeats, "quick": chosen.quick, "minutes": chosen.minutes, "peers": chosen.peers}


if __name__ == "__main__":
    main()
