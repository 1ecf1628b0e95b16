"""Everything that can be set, stage by stage, with the mission's numbers as defaults."""

from pathlib import Path

import msgspec

from detectors.series import SeriesParams
from pipeline.stages.alerting import AlertingParams
from pipeline.stages.cache import CacheParams
from pipeline.stages.detection import DetectionParams
from pipeline.stages.incidents import IncidentsParams
from pipeline.stages.mitigation import MitigationParams
from pipeline.stages.quota import QuotaParams
from pipeline.stages.safety import SafetyParams
from pipeline.stages.scheduler import SchedulerParams
from pipeline.stages.slices import SlicesParams
from pipeline.stages.windows import WindowsParams


class SettingsError(Exception):
    """A settings file that cannot be used; the message names the field."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One section a stage; a TOML file sets any of it (`tidegate worker --config FILE`).

    `series` is for `tidegate backtest` over plain series: no stage reads it."""

    quota: QuotaParams = QuotaParams()
    safety: SafetyParams = SafetyParams()
    slices: SlicesParams = SlicesParams()
    windows: WindowsParams = WindowsParams()
    detection: DetectionParams = DetectionParams()
    alerting: AlertingParams = AlertingParams()
    mitigation: MitigationParams = MitigationParams()
    scheduler: SchedulerParams = SchedulerParams()
    cache: CacheParams = CacheParams()
    incidents: IncidentsParams = IncidentsParams()
    series: SeriesParams = SeriesParams()


def load(path: Path | None) -> Settings:
    """The settings in a TOML file, or the defaults without one."""
    if path is None:
        return Settings()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror or error}; give a TOML file that exists"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        sections = ", ".join(f"[{name}]" for name in Settings.__struct_fields__)
        raise SettingsError(
            f"{path}: {error}. Its sections are {sections}; their fields are in pipeline/stages"
            " ([series]: detectors/series.py)"
        ) from error
