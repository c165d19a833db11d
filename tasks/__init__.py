"""The pipeline: `luigi --module tasks AllReports --local-scheduler`."""

from tasks.run.settings import supply_defaults

supply_defaults()

from tasks.graph import (  # noqa: E402
    ActivityReport,
    AllReports,
    AllStaged,
    CheckSources,
    CheckWarehouse,
    CsvToParquet,
    DataQualityReport,
    EnrichedLogs,
    LoadDimension,
    LoadFactLogs,
    LogActivity,
    LogInstanceChains,
    ProfileReport,
    ReportPage,
    SampleData,
    SchemaChangeReport,
    SourceProfiles,
    SourceRelations,
    SummaryReport,
)

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
    "ProfileReport",
    "ReportPage",
    "SampleData",
    "SchemaChangeReport",
    "SourceProfiles",
    "SourceRelations",
    "SummaryReport",
]
