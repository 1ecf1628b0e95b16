"""What operators and deployment tools have said that changes how windows are judged: maintenance and deployments."""

from msgspec import Struct

from topics.control import Deployment, Maintenance, Relayed

MAINTENANCES_MAX = 256
DEPLOYMENTS_MAX = 1_000


class Deployed(Struct, frozen=True):
    """A version that went live at `time_us` and is yet under observation, or has been."""

    time_us: int
    version: str
    settled: bool = False


class Context(Struct, tag="context"):
    """Maintenances not yet over, in the order they came, and each model's newest deployment."""

    maintenances: list[Maintenance] = []
    deployments: dict[str, Deployed] = {}


def heard(context: Context, relayed: Relayed) -> bool:
    """Take one control event in; whether it concerned us. The oldest give way when there are too many."""
    match relayed.event:
        case Maintenance() as maintenance:
            context.maintenances.append(maintenance)
            del context.maintenances[:-MAINTENANCES_MAX]
        case Deployment() as deployment:
            context.deployments.pop(deployment.model, None)
            context.deployments[deployment.model] = Deployed(deployment.time_us, deployment.version)
            for model in list(context.deployments)[:-DEPLOYMENTS_MAX]:
                del context.deployments[model]
        case _:
            return False
    return True


def maintained(context: Context, model: str, start_us: int, end_us: int) -> Maintenance | None:
    """The maintenance that a window of this model overlaps, if any."""
    for maintenance in context.maintenances:
        if maintenance.model in ("", model) and maintenance.start_us < end_us and start_us < maintenance.end_us:
            return maintenance
    return None


def observed(context: Context, model: str, time_us: int, observe_us: int) -> Deployed | None:
    """The deployment that this model is still being observed after, if any."""
    deployed = context.deployments.get(model)
    return deployed if deployed and deployed.time_us <= time_us < deployed.time_us + observe_us else None
