"""`python -m tests.oracle --seed 17`: seeded runs with faults on a real broker, each compared with the oracle.

Exit code 0: everything balanced. 1: some run did not; the command that repeats it is printed. With --mutant NAME it is
the other way round: 0 when one of the seeds noticed what the mutant does wrong.

    python -m tests.oracle --seeds 1-20                               about three minutes a seed
    python -m tests.oracle --seed 8 --events 40000 --mutant barrier   a minute; see tests/oracle/mutants.py
"""

import argparse
import logging
import sys
import time

from tests.oracle.chaos import EVENTS, Spec, run


def main() -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every broker that goes away: ours do
    options = _parser().parse_args()
    first, _, last = options.seeds.partition("-")
    seeds = [options.seed] if options.seed is not None else range(int(first), int(last or first) + 1)
    specs = [Spec(seed, options.events, options.mutant) for seed in seeds]
    verdicts = {spec: _verdict(spec) for spec in specs}
    if options.mutant:
        noticed = sum(verdict == "does not balance" for verdict in verdicts.values())
        say(f"mutant {options.mutant}: {'noticed' if noticed else 'NOT NOTICED'}: {noticed} of {len(specs)} seeds")
        return 0 if noticed else 1
    failed = [spec for spec, verdict in verdicts.items() if verdict != "balanced"]
    say(f"{len(specs) - len(failed)} of {len(specs)} seeds balanced")
    for spec in failed:
        say(f"to repeat: {spec.command}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description="Seeded faults, and an oracle")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", default="1", metavar="A-B", help="several, one after the other")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--mutant", default="", metavar="NAME", help="a worker of mutants.py that does something wrong")
    return parser


def _verdict(spec: Spec) -> str:
    """`balanced`, `does not balance`, or `failed`: there was nothing to compare."""
    began = time.monotonic()
    try:
        judgement = run(spec, say)
    except Exception as error:
        say(f"seed {spec.seed} failed: {type(error).__name__}: {error}")
        return "failed"
    say(", ".join(f"{count:,} {name}" for name, count in judgement.counts.items()))
    verdict = "balanced" if judgement.balanced else "does not balance"
    say(f"seed {spec.seed}: {verdict} ({time.monotonic() - began:.0f} s)")
    for line in judgement.findings.lines():
        say(f"  {line}")
    return verdict


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
