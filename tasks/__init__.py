"""The pipeline: `luigi --module tasks AllReports --local-scheduler`."""

from tasks.graph import (
    AllReports,
    CheckSources,
    CheckWarehouse,
    CsvToParquet,
    DataQualityReport,
    EnrichedLogs,
    LoadDimension,
    LoadFactLogs,
    SampleData,
    SchemaChangeReport,
    SummaryReport,
)

__all__ = [
    "AllReports",
    "CheckSources",
    "CheckWarehouse",
    "CsvToParquet",
    "DataQualityReport",
    "EnrichedLogs",
    "LoadDimension",
    "LoadFactLogs",
    "SampleData",
    "SchemaChangeReport",
    "SummaryReport",
]
