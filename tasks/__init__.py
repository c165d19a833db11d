"""The pipeline: `luigi --module tasks AllReports --local-scheduler`."""

from tasks.run.signals import install

install()  # First: a signal during the imports is handled too.

from tasks.run.settings import supply_defaults  # noqa: E402

supply_defaults()

from tasks.graph import *  # noqa: E402, F403
from tasks.graph import __all__ as __all__  # noqa: E402
