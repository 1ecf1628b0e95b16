"""TCP ports on loopback: which are free, who has the one we want, and which Kafka answers there."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import psutil
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.broker_install import BrokerError

LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT_S = 0.5
PROBE_TIMEOUT_S = 5.0


def free_port() -> int:
    """A port that nobody listens on now; between this answer and its use somebody else may take it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port. Raises BrokerError where the port may not be used at all."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError as error:
            raise BrokerError(f"port {port} needs privileges; choose one above 1023 with --port") from error
        except OSError:
            return False
        return True


def require_free(port: int) -> None:
    """Raise BrokerError naming whoever listens on the port, as far as the system tells."""
    if not is_free(port):
        raise BrokerError(
            f"port {port} on {LOOPBACK} is taken by {_occupant(port)}: stop that, "
            f"or choose another port with --port N (--port 0 takes any free one)"
        )


def accepts(port: int) -> bool:
    """Whether something listens on the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def ask_cluster_id(port: int) -> str | None:
    """The id of the Kafka cluster at the port, None where none answers with a broker in it.

    It is asked by a real metadata request, in a thread of its own, so that callers may have an event loop running.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _request_metadata(port)).result()


async def _request_metadata(port: int) -> str | None:
    admin = AIOKafkaAdminClient(bootstrap_servers=f"{LOOPBACK}:{port}", client_id="tidegate-readiness")
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await admin.start()
            cluster = await admin.describe_cluster()
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await admin.close()
    return str(cluster["cluster_id"]) if cluster["brokers"] else None


def _occupant(port: int) -> str:
    """Program, pid and command line of the listener; other users' processes are not always visible."""
    try:
        listening = (
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
        )
        process = psutil.Process(next(listening))
        return f"{process.name()} (pid {process.pid}: {' '.join(process.cmdline())[-120:]})"
    except (StopIteration, psutil.Error):
        return "a process that this user cannot see"
