"""The pipeline: `luigi --module tasks AllReports --local-scheduler`."""

from tasks.settings import supply_defaults

supply_defaults()

from tasks.graph import (  # noqa: E402
    AllReports,
    AllStaged,
    CheckSources,
    CheckWarehouse,
    CsvToParquet,
    DataQualityReport,
    EnrichedLogs,
    LoadDimension,
    LoadFactLogs,
    LogInstanceChains,
    SampleData,
    SchemaChangeReport,
    SourceRelations,
    SummaryReport,
)

__all__ = [
    "AllReports",
    "AllStaged",
    "CheckSources",
    "CheckWarehouse",
    "CsvToParquet",
    "DataQualityReport",
    "EnrichedLogs",
    "LoadDimension",
    "LoadFactLogs",
    "LogInstanceChains",
    "SampleData",
    "SchemaChangeReport",
    "SourceRelations",
    "SummaryReport",
]
