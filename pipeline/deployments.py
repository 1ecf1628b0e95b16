"""What is known of each model's deployments: the version that runs and the one to return to."""

from msgspec import Struct

from topics.control import Deployment
from topics.fields import MINUTE_US


class Deployed(Struct, frozen=True):
    version: str
    stable: str  # empty: unknown
    time_us: int


class Deployments(Struct, tag="deployments"):
    """Each model's last deployment; the model whose deployment was heard longest ago comes first."""

    models: dict[str, Deployed] = {}

    def record(self, event: Deployment, models_max: int) -> None:
        """Without a named stable version, the version that ran before is the one to return to."""
        known = self.models.pop(event.model, None)
        before = known.version if known and known.version != event.version else ""
        self.models[event.model] = Deployed(event.version, event.stable or before, event.time_us)
        while len(self.models) > models_max:
            del self.models[next(iter(self.models))]

    def returned(self, model: str, version: str, time_us: int) -> None:
        """A roll back is a deployment of the stable version: there is nothing further to return to."""
        if model in self.models:
            self.models[model] = Deployed(version, version, time_us)

    def suspect(self, model: str, started_us: int, within_us: int) -> bool:
        """Whether a version other than the stable one went live within `within_us` before an incident began.

        `started_us` is the start of the incident's first one-minute window; a deployment inside it counts.
        """
        deployed = self.models.get(model)
        if deployed is None or deployed.version == deployed.stable:
            return False
        return 0 <= started_us + MINUTE_US - deployed.time_us <= within_us + MINUTE_US
