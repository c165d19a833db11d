"""Databases with rows."""

from tests.mariadb import loaded as loaded
from tests.mariadb import units as units
