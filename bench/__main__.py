"""`make bench`: what a stage costs, and what a worker on a real broker does with a backlog. A table, and JSON.

Figures of one run on one machine: compare ratios within a run, not runs. Medians of REPEATS.
"""

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from pipeline.broker import temporary_broker
from pipeline.chain import Chain
from pipeline.intake import Intake, Raw
from pipeline.kafka_admin import create_topics, require_topics
from pipeline.observer import Observer
from pipeline.publisher import Publisher
from pipeline.settings import Settings
from replay.kafka import KafkaReplay
from replay.offline import Offline
from replay.sources import Source, synthetic
from replay.synthesis import Synthesis
from topics.codec import encoder
from topics.table import BY_ALIAS

REPEATS = 3
BATCH = 1_000
TRAFFIC = Synthesis(duration_s=1_800, rate_per_s=20.0, seed=1)
RESULT = Path("reports") / "bench.json"

Row = tuple[str, float, str]


def main() -> None:
    """Run everything."""
    out = Console()
    source = synthetic(TRAFFIC, time.time_ns() // 1000 - TRAFFIC.duration_s * 1_000_000)
    rows: list[Row] = []
    with out.status("stages, in this process") as status:
        rows += stages(source)
        status.update("the whole flow, without Kafka")
        rows.append(("whole flow offline, events", repeated(lambda: offline(source)), "/s"))
        status.update("a worker on a real broker, with a backlog")
        rows += asyncio.run(backlog(source))
    show(out, rows)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**where(), "rows": [row_of(row) for row in rows]}, indent=2))
    out.print(f"written to {RESULT}")


def repeated(measure: Callable[[], float]) -> float:
    """The median of a few measurements."""
    return statistics.median(measure() for _ in range(REPEATS))


def stages(source: Source) -> list[Row]:
    """Decoding, and each chain that reads traffic: events per second of this process."""
    encode = encoder(BY_ALIAS["traffic"])
    events = list(source.events())
    raws = [Raw(offset, event.time_us, encode(event)) for offset, event in enumerate(events)]  # type: ignore[union-attr]
    cuts = range(0, len(raws), BATCH)

    def decode() -> float:
        intake = Intake("traffic", "quota")
        return rate(len(raws), lambda: [intake.batch(0, 1, raws[cut : cut + BATCH]) for cut in cuts])

    def chain(*held: str) -> Callable[[], float]:
        intake = Intake("traffic", "quota")
        batches = [intake.batch(0, 1, raws[cut : cut + BATCH])[0] for cut in cuts]

        def measure() -> float:
            under_test = Chain("traffic", frozenset(held), Settings())
            return rate(len(raws), lambda: [under_test.step(batch, batch.offsets[-1]) for batch in batches])

        return measure

    return [
        ("decode traffic, events", repeated(decode), "/s"),
        ("quota, events", repeated(chain("quota")), "/s"),
        ("quota + safety, events", repeated(chain("quota", "safety")), "/s"),
        ("slices, events", repeated(chain("slices")), "/s"),
    ]


def rate(count: int, work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def offline(source: Source) -> float:
    driver = Offline(Settings(), lambda alias, key, value: None)
    began = time.perf_counter()
    driver.feed(source.events())
    driver.finish()
    return driver.events / (time.perf_counter() - began)


async def backlog(source: Source) -> list[Row]:
    """Fill the traffic topic, then start a worker: how fast it decides, and per second of its own processor time."""
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        await create_topics(broker.address, 4, 1)
        await require_topics(broker.address)
        publisher = Publisher(broker.address)
        await publisher.start()
        counts = await KafkaReplay(publisher).run(source.events(), None)
        await publisher.stop()
        observer = Observer(broker.address)
        await observer.start()
        worker = start_worker(broker.address, Path(folder))
        await until(observer, 1)
        cpu, began = processor_s(worker), time.perf_counter()
        await until(observer, counts["request"])
        took, used = time.perf_counter() - began, processor_s(worker) - cpu
        resident_mb = psutil.Process(worker.pid).memory_info().rss / 1e6
        worker.terminate()
        worker.wait()
        await observer.stop()
    total = counts["request"] + counts["completion"]
    return [
        ("worker on Kafka, events (from its first decision)", total / took, "/s"),
        ("worker on Kafka, events per second of its processor time", total / used, "/s"),
        ("worker's memory", resident_mb, " MB"),
    ]


async def until(observer: Observer, decided: int) -> None:
    while observer.decisions.once < decided:
        observer.check()
        await asyncio.sleep(0.01)


def start_worker(address: str, folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pipeline", "worker", "--broker", address]
    with (folder / "worker.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - ourselves


def processor_s(worker: "subprocess.Popen[bytes]") -> float:
    times = psutil.Process(worker.pid).cpu_times()
    return float(times.user + times.system)


def where() -> dict[str, Any]:
    """Date, machine, versions: without them a figure means nothing."""
    packages = ("faust-streaming", "aiokafka", "msgspec", "numpy")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "traffic": f"{TRAFFIC.duration_s} s at {TRAFFIC.rate_per_s:g} requests/s, seed {TRAFFIC.seed}",
        "repeats": REPEATS,
    }


def row_of(row: Row) -> dict[str, Any]:
    return {"what": row[0], "value": round(row[1]), "unit": row[2].strip()}


def show(out: Console, rows: list[Row]) -> None:
    known = where()
    table = Table(title=f"{known['date']}, {known['cores']} cores, Python {known['python']}", title_justify="left")
    table.add_column("what")
    table.add_column("median", justify="right")
    for what, value, unit in rows:
        table.add_row(what, f"{value:,.0f}{unit}")
    out.print(table)


if __name__ == "__main__":
    main()
