"""A real Apache Kafka in KRaft mode, one node on loopback, with nothing to install.

    with temporary_broker() as broker:      # tests and demos
        ...                                 # broker.address is "127.0.0.1:PORT"

    broker = up(Path("data"), port=9092)    # stays when this process ends; calling it again does no harm
    status(Path("data"))
    down(Path("data"))

broker_install     the jars, pinned and verified, and a Java
broker_archive     what makes a second start fast
broker_folder      what lies in a data folder
broker_ports       loopback ports, and which Kafka answers there
broker_process     living and dead processes
broker_run         up, down, status
broker_temporary   temporary_broker

All functions block; none prints. Everything that goes wrong is a BrokerError whose message says what to do next.
Linux and macOS.
"""

from pipeline.broker_install import KAFKA_VERSION, BrokerError, Installation, Java, Progress, resolve
from pipeline.broker_run import (
    HEAP_MB_DEFAULT,
    PORT_DEFAULT,
    Broker,
    BrokerStatus,
    default_data_dir,
    down,
    kill,
    status,
    up,
)
from pipeline.broker_temporary import temporary_broker

__all__ = [
    "HEAP_MB_DEFAULT",
    "KAFKA_VERSION",
    "PORT_DEFAULT",
    "Broker",
    "BrokerError",
    "BrokerStatus",
    "Installation",
    "Java",
    "Progress",
    "default_data_dir",
    "down",
    "kill",
    "resolve",
    "status",
    "temporary_broker",
    "up",
]
