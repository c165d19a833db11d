"""The task graph: what requires what. One module per stage; other packages do the work.

task               requires                                               makes
CheckSources                                                              (before anything else)
CsvToParquet (7)   CheckSources                                           staging/NAME.parquet, ...
AllStaged          CsvToParquet                                           (before any load)
LogInstanceChains  CsvToParquet                                           keys of each log instance
EnrichedLogs       CsvToParquet LogInstanceChains                         staging/enriched_logs/
LoadDimension (5)  AllStaged CsvToParquet LoadDimension LogInstanceChains dim_...
LoadFactLogs       EnrichedLogs LoadDimension                             fact_logs
CheckWarehouse     LoadFactLogs                                           reconciliation.csv
LogActivity        CsvToParquet                                           staging/activity/
SourceProfiles     CsvToParquet                                           staging/profiles/
SourceRelations    CsvToParquet                                           relations.json
SummaryReport (3)  CheckWarehouse                                         summary_by_....csv
ValuesReport       CheckWarehouse                                         alarms.csv, ...
ActivityReport     CheckWarehouse LogActivity                             holes.csv, gaps.csv, ...
ProfileReport      SourceProfiles                                         profile.csv, ...
DataQualityReport  CheckWarehouse SourceRelations                         data_quality.md, ...
SchemaChangeReport CheckWarehouse                                         schema_change.md, ...
ReportPage         each report                                            index.html, run.json
AllReports         ReportPage                                             (everything)

With `facts = lake`, LoadFactLogs requires LakeDays, which requires LakeFacts, which requires
EnrichedLogs.

SampleData generates source files; SchemaChangePlan, SchemaChangeRehearsal and SchemaChangeApply add
a column to a live table. No other task requires them.

Modules that load pyarrow, pandas or SQLAlchemy are imported where they are used: a run with nothing
to do needs none of them.
"""

from tasks.graph import events  # noqa: F401  # Registers the handlers.
from tasks.graph.check import CheckWarehouse
from tasks.graph.enrich import EnrichedLogs, LogInstanceChains
from tasks.graph.facts import LoadFactLogs
from tasks.graph.lake import LakeDays, LakeFacts
from tasks.graph.load import LoadDimension
from tasks.graph.measure import LogActivity, SourceProfiles, SourceRelations
from tasks.graph.report import (
    ActivityReport,
    AllReports,
    DataQualityReport,
    ProfileReport,
    ReportPage,
    SchemaChangeReport,
    SummaryReport,
    ValuesReport,
)
from tasks.graph.schema_change import SchemaChangeApply, SchemaChangePlan, SchemaChangeRehearsal
from tasks.graph.sources import CheckSources, SampleData
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
    "LakeDays",
    "LakeFacts",
    "LoadDimension",
    "LoadFactLogs",
    "LogActivity",
    "LogInstanceChains",
    "ProfileReport",
    "ReportPage",
    "SampleData",
    "SchemaChangeApply",
    "SchemaChangePlan",
    "SchemaChangeRehearsal",
    "SchemaChangeReport",
    "SourceProfiles",
    "SourceRelations",
    "SummaryReport",
    "ValuesReport",
]
