"""How grave a window is for a family, given what was announced: severity, eased by deployments and launches."""

from pipeline.judging.context import Context, announced, observed
from pipeline.judging.families import Family, leading, severity
from topics.control import Launch
from topics.fields import Severity
from topics.records import Judged

LAUNCHED = {"tokens": True, "latency": True, "traffic": False}  # whether a launch moves it upwards; its end, down


def launch_of(family: Family, judged: Judged, known: Context) -> Launch | None:
    """The announced launch that explains what this family sees in this window."""
    if not known.launches or family.name not in LAUNCHED:
        return None
    span = (judged.window.start_us, judged.window.end_us)
    return announced(known, judged.window.model, span, LAUNCHED[family.name], leading(family, judged))


def grade(family: Family, judged: Judged, known: Context, observe_us: int) -> Severity:
    """By the table of severities, but *info* for what an observed version or an announced launch may well cause."""
    watched = observed(known, judged.window.model, judged.window.start_us, observe_us)
    if watched and family.observed and not any(anomaly.detector == "limit" for anomaly in leading(family, judged)):
        return "info"
    return "info" if launch_of(family, judged, known) else severity(family, judged)
