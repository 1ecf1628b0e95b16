"""python -m bench.peers --events 2000000 --repeats 5 [--keyed-by model] [--peers tidegate,kafka-streams,...]

Interleaved: every peer once, then every peer again, so that noise of the machine hits all alike. Medians.
"""

import argparse
import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.peers.alone import measured_alone
from bench.peers.report import Series, row_of, show, write
from bench.peers.run import PeerError
from bench.peers.table import PEERS, Peer
from bench.peers.work import KeyedBy

SHORTER = 0.2
RESULT = Path("reports") / "peers.json"


def main() -> None:
    """Measure, print a table, write the JSON."""
    options = _options()
    out = Console()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # retries while a fresh broker elects its leaders
    peers = _chosen(out, options.peers.split(","))
    series = [Series(peer.name, []) for peer in peers]
    for repeat in range(options.repeats):
        for peer, one in zip(peers, series, strict=True):
            _repeat(out, peer, one, int(options.events * peer.share), options.keyed_by, repeat)
    rows = [row_of(one) for one in series if one.pairs]
    show(out, rows)
    RESULT.parent.mkdir(exist_ok=True)
    write(RESULT, vars(options), rows)
    out.print(f"written to {RESULT}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000, help="slow peers get a share of them")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keyed-by", choices=("organisation", "model"), default="organisation")
    parser.add_argument("--peers", default=",".join(PEERS), help="names, separated by commas")
    return parser.parse_args()


def _chosen(out: Console, names: Sequence[str]) -> list[Peer]:
    for name in names:
        if not PEERS[name].installed():
            out.print(f"{name} is left out: `python -m bench.peers.install` installs it")
    return [PEERS[name] for name in names if PEERS[name].installed()]


def _repeat(out: Console, peer: Peer, series: Series, events: int, keyed_by: KeyedBy, repeat: int) -> None:
    """Two runs, a shorter and a longer one. A peer that fails is reported and goes on with its next repeat."""
    try:
        with out.status(f"repeat {repeat + 1}: {peer.name}, {events:,} events"):
            shorter = asyncio.run(measured_alone(peer.name, int(events * SHORTER), keyed_by))
            longer = asyncio.run(measured_alone(peer.name, events, keyed_by))
    except PeerError as error:
        out.print(f"{peer.name} failed: {error}", markup=False)
        return
    series.pairs.append((shorter, longer))
    out.print(f"{peer.name}: {longer.cpu_s:.2f} CPU-s for {events:,} events, {shorter.cpu_s:.2f} for a fifth")


if __name__ == "__main__":
    main()
