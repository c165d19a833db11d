"""The pipeline: `luigi --module tasks AllReports --local-scheduler`."""

from tasks.run.settings import supply_defaults

supply_defaults()

from tasks.graph import *  # noqa: E402, F403
from tasks.graph import __all__ as __all__  # noqa: E402
