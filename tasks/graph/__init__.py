"""The task graph: what requires what. The work itself is in the modules that `build` calls.

    take_home_data/*.csv
        CheckSources                 every file is there and has its columns
          CsvToParquet (7)           staging/NAME.parquet, audit, quarantine
            AllStaged                nothing is loaded before
              LoadDimension (4)      dim_... in the warehouse
            LogInstanceChains        staging/log_instance_chains.parquet
              EnrichedLogs           staging/enriched_logs/*.parquet
            SourceRelations          staging/audit/relations.json
            SourceProfiles           staging/profiles/
            LogActivity              staging/activity/
              LogMeasures            staging/measures/
                ProfileReport        reports/profile.json, profile.csv
                ActivityReport       reports/gaps.csv, records_over_time.csv, unit_days.csv
              LoadFactLogs           fact_logs in the warehouse
                CheckWarehouse       reports/reconciliation.csv
                  SummaryReport (3)  reports/summary_by_....csv
                  DataQualityReport  reports/data_quality.md
                  SchemaChangeReport reports/schema_change.md
                    AllReports

Modules that load pyarrow, pandas or SQLAlchemy are imported where they are used: a run in which
nothing has to be done needs none of them.
"""

from tasks.graph import events  # noqa: F401  # Registers the handlers.
from tasks.graph.check import CheckSources
from tasks.graph.enrich import EnrichedLogs, LogInstanceChains
from tasks.graph.load import CheckWarehouse, LoadDimension, LoadFactLogs
from tasks.graph.measure import LogActivity, LogMeasures, SourceProfiles, SourceRelations
from tasks.graph.report import (
    ActivityReport,
    AllReports,
    DataQualityReport,
    ProfileReport,
    ReportPage,
    SchemaChangeReport,
    SummaryReport,
)
from tasks.graph.sample import SampleData
from tasks.graph.stage import AllStaged, CsvToParquet

__all__ = [
    "ActivityReport",
    "AllReports",
    "AllStaged",
    "CheckSources",
    "CheckWarehouse",
    "CsvToParquet",
    "DataQualityReport",
    "EnrichedLogs",
    "LoadDimension",
    "LoadFactLogs",
    "LogActivity",
    "LogInstanceChains",
    "LogMeasures",
    "ProfileReport",
    "ReportPage",
    "SampleData",
    "SchemaChangeReport",
    "SourceProfiles",
    "SourceRelations",
    "SummaryReport",
]
