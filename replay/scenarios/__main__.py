"""`python -m replay.scenarios --seed N --weeks W --out DIR` writes labelled weeks; `… evaluate --seeds 101-108` judges.

Seeds 1 to 20 are for tuning; 101 to 108 are for the figures in the documentation, and nothing may be chosen on them.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress, TaskID

from pipeline.commands.shared import console
from pipeline.settings import Settings, SettingsError, load
from replay.event import ReplayError
from replay.scenarios import ablation
from replay.scenarios.ablation import LEFT_OUT
from replay.scenarios.cost import Sampler
from replay.scenarios.judging import Verdict, summarise
from replay.scenarios.running import Closed, Weighed, naive_verdict, verdicts, windows, write
from replay.scenarios.table import show, show_without, show_wrong
from replay.scenarios.world import WEEKS_MAX, Scenario

PROCESSES_MAX = 2
OURS, NAIVE = "tidegate", "naive"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a scenario's files, or evaluate the pipeline on several. What cannot be done is said in one line."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        _do(given)
    except (ReplayError, SettingsError, OSError) as error:
        parser.error(str(error))


def _do(given: argparse.Namespace) -> None:
    if given.command == "evaluate":
        evaluate(seeds(given.seeds), given.weeks, load(given.config), given.naive, given.without, given.output)
        return
    told = Console(stderr=True)
    with Progress(console=told) as bars:
        bar = bars.add_task(f"seed {given.seed}, {given.weeks} weeks", total=1.0)
        scenario = Scenario(given.seed, given.weeks)
        write(scenario, given.out, lambda share: bars.update(bar, completed=share))
        bars.update(bar, completed=1.0)
    told.print(f"{given.out}: slices.jsonl, windows.jsonl and {len(scenario.labels)} incidents in labels.jsonl")


def evaluate(
    chosen: Sequence[int], weeks: int, settings: Settings, naive: bool, without: bool, output: Path | None
) -> None:
    """Make every seed's windows, at most PROCESSES_MAX at a time, judge them together, and print the table
    and what went wrong; `without`: also what would, were one detector left out."""
    scenarios = [Scenario(seed, weeks) for seed in chosen]
    found: dict[str, list[Verdict]] = {}
    with ProcessPoolExecutor(PROCESSES_MAX) as pool, Progress(console=Console(stderr=True)) as bars:
        making = bars.add_task(f"windows of {len(chosen)} scenarios", total=len(chosen))
        encoded = []
        for raw in pool.map(partial(_windows, weeks=weeks, settings=settings), chosen):
            encoded.append(raw)
            bars.advance(making)
        recipes = [pool.submit(_naive, seed, weeks, raw) for seed, raw in zip(chosen, encoded, strict=True) if naive]
        judging = bars.add_task("judging", total=1.0)
        closed = [_decode(raw) for raw in encoded]
        judged: list[Weighed] | None = [] if without else None
        sampler = Sampler()
        with sampler if without else nullcontext():
            found[OURS] = verdicts(scenarios, closed, settings, partial(_tell, bars, judging), judged)
        bars.update(judging, completed=1.0)
        if judged is not None:
            for name in bars.track(LEFT_OUT, description="leaving one out"):
                found[f"without {name}"] = ablation.without(name, scenarios, judged, settings)
        if naive:
            found[NAIVE] = [recipe.result() for recipe in recipes]
    summaries = {name: summarise(own) for name, own in found.items()}
    show(console(), {name: one for name, one in summaries.items() if name in (OURS, NAIVE)})
    if without:
        show_without(console(), {name: one for name, one in summaries.items() if name != NAIVE}, sampler.shares())
    show_wrong(console(), found[OURS])
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(
            msgspec.json.format(
                msgspec.json.encode({"summaries": summaries, "costs": sampler.shares(), "verdicts": found})
            )
        )


def _tell(bars: Progress, task: TaskID, share: float) -> None:
    bars.update(task, completed=share)


def _windows(seed: int, weeks: int, settings: Settings) -> bytes:
    return msgspec.msgpack.encode(windows(Scenario(seed, weeks), settings))


def _naive(seed: int, weeks: int, raw: bytes) -> Verdict:
    return naive_verdict(Scenario(seed, weeks), _decode(raw))


_decode = msgspec.msgpack.Decoder(list[Closed]).decode


def seeds(text: str) -> list[int]:
    """`1-3,7` as [1, 2, 3, 7].

    >>> seeds("1-3,7")
    [1, 2, 3, 7]
    """
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ReplayError(f"--seeds {text}: give whole numbers and ranges, such as 101-108 or 1,5,9")
        found += range(int(first), int(last or first) + 1)
    return found


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 0 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m replay.scenarios", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("write", "evaluate"), default="write")
    parser.add_argument("--seed", type=_seed, default=1, metavar="N", help="a whole number, 0 or more")
    parser.add_argument("--seeds", default="1-4", help="evaluate: such as 101-108 or 1,5,9")
    parser.add_argument("--weeks", type=int, default=1, help=f"1 to {WEEKS_MAX}")
    parser.add_argument("--out", type=Path, default=Path("scenario"))
    parser.add_argument("--config", type=Path, default=None, help="settings of the stages in TOML")
    parser.add_argument("--naive", action="store_true", help="evaluate: the naive recipe in the same table")
    parser.add_argument("--without", action="store_true", help="evaluate: what is lost by leaving each detector out")
    parser.add_argument("--output", type=Path, default=None, help="evaluate: all results as JSON")
    return parser


if __name__ == "__main__":
    main()
