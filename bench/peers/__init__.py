"""The windows job as others do it, beside ours, on the same input: see README.md.

work = Work(events, base_for(events, now_us))
await produce_input(address, work)               # a fresh broker for each run: measured_alone does it all
measured = await run_peer(name, address, work)
steady_events_per_cpu_s(shorter, longer)         # two runs, of two lengths of the same input
"""

from bench.peers.alone import measured_alone
from bench.peers.answers import check
from bench.peers.produce import produce_closing, produce_input
from bench.peers.run import Measured, PeerError, run_peer, steady_events_per_cpu_s
from bench.peers.table import PEERS, Peer
from bench.peers.work import Work, base_for, exact

__all__ = [
    "PEERS",
    "Measured",
    "Peer",
    "PeerError",
    "Work",
    "base_for",
    "check",
    "exact",
    "measured_alone",
    "produce_closing",
    "produce_input",
    "run_peer",
    "steady_events_per_cpu_s",
]
