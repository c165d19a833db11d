"""A peer: the same job, written by hand for DuckDB. `peer_duckdb.py DATA OUT`.

CSV to Parquet, joins, the warehouse through DuckDB's SQLite extension, three indexes, summaries;
everything anew, each time.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import duckdb_extension_sqlite_scanner

LEVELS = ("unit_id", "app_instance_id", "app_type_id")

TYPES = {
    "APP_TYPE": {"app_type_id": "BIGINT"},
    "APP_TYPE_REF": {"app_type_ref_id": "BIGINT", "app_type_id": "BIGINT", "unit_id": "BIGINT"},
    "APP_INSTANCE": {"app_instance_id": "BIGINT", "app_type_ref_id": "BIGINT"},
    "POINT": {"point_id": "BIGINT", "app_instance_id": "BIGINT"},
    "LOG_INSTANCE": {"point_log_inst_id": "BIGINT", "point_id": "BIGINT"},
    "LOG_RCD_B": {"point_log_inst_id": "BIGINT", "log_time": "TIMESTAMP"},
    "LOG_RCD_F": {"point_log_inst_id": "BIGINT", "log_time": "TIMESTAMP"},
}
UNIQUE = ("APP_INSTANCE", "POINT")


def stage(data: Path, name: str, out: Path) -> str:
    """The statement that writes a file as Parquet, leaving out rows that cannot be read."""
    with (data / f"{name}.csv").open(encoding="utf-8") as stream:
        header = stream.readline().rstrip("\n").split(",")
    types = {column: TYPES[name].get(column, "VARCHAR") for column in header}
    rows = (
        f"SELECT * FROM read_csv('{data / name}.csv', header = true, auto_detect = false,"
        f" delim = ',', quote = '\"', columns = {types}, ignore_errors = true)"
    )
    if name in UNIQUE:
        key = next(iter(TYPES[name]))
        rows += f" QUALIFY row_number() OVER (PARTITION BY {key}) = 1"
    return f"COPY ({rows}) TO '{out / name}.parquet' (FORMAT parquet)"


CHAINS = """
CREATE TABLE instances AS
SELECT app_instance_id, coalesce(r.app_type_ref_id, -1) AS app_type_ref_id,
       coalesce(t.app_type_id, -1) AS app_type_id, coalesce(r.unit_id, -1) AS unit_id
FROM '{out}/APP_INSTANCE.parquet'
LEFT JOIN '{out}/APP_TYPE_REF.parquet' r USING (app_type_ref_id)
LEFT JOIN '{out}/APP_TYPE.parquet' t ON t.app_type_id = r.app_type_id;

CREATE TABLE logs AS
SELECT point_log_inst_id, l.point_id, coalesce(i.app_instance_id, -1) AS app_instance_id,
       coalesce(i.app_type_id, -1) AS app_type_id, coalesce(i.unit_id, -1) AS unit_id,
       l.eng_unit_id::BIGINT AS eng_unit_id, l.log_interval::BIGINT AS log_interval
FROM '{out}/LOG_INSTANCE.parquet' l
LEFT JOIN '{out}/POINT.parquet' p USING (point_id)
LEFT JOIN instances i ON i.app_instance_id = p.app_instance_id;
"""

RECORDS = """
SELECT coalesce(l.unit_id, -1) AS unit_id, coalesce(l.app_instance_id, -1) AS app_instance_id,
       coalesce(l.app_type_id, -1) AS app_type_id, coalesce(l.point_id, -1) AS point_id,
       coalesce(l.point_log_inst_id, -1) AS point_log_inst_id, log_time AS recorded_at,
       TRY_CAST(log_value AS DOUBLE) AS value,
       CASE WHEN value IS NOT NULL THEN nullif(status, '')
            ELSE concat_ws('; ', nullif(status, ''), log_value) END AS status, '{kind}' AS log_kind
FROM '{out}/LOG_RCD_{kind}.parquet' r LEFT JOIN logs l USING (point_log_inst_id)
"""

ENRICHED = "COPY (SELECT row_number() OVER () AS log_id, * FROM ({records})) TO '{out}/{file}'"

WAREHOUSE = """
ATTACH '{out}/warehouse.db' AS warehouse (TYPE sqlite);
CREATE TABLE warehouse.dim_application_type AS
SELECT -1 AS app_type_id, 'Unknown' AS app_type_description UNION ALL
SELECT app_type_id, coalesce(nullif(trim(name), ''), '(no name)') FROM '{out}/APP_TYPE.parquet';
CREATE TABLE warehouse.dim_unit AS
SELECT -1 AS unit_id, 'Unknown' AS unit_name UNION ALL
SELECT DISTINCT unit_id, 'Unit ' || unit_id FROM '{out}/APP_TYPE_REF.parquet';
CREATE TABLE warehouse.dim_application_instance AS
SELECT -1 AS app_instance_id, -1 AS app_type_ref_id, -1 AS app_type_id, -1 AS unit_id UNION ALL
SELECT * FROM instances;
CREATE TABLE warehouse.dim_log_instance AS
SELECT -1 AS point_log_inst_id, -1 AS point_id, -1 AS app_instance_id, -1 AS app_type_id,
       -1 AS unit_id, NULL::BIGINT AS eng_unit_id, NULL::BIGINT AS log_interval UNION ALL
SELECT * FROM logs;
CREATE TABLE warehouse.fact_logs AS SELECT * FROM '{out}/{file}';
"""

SUMMARY = """
COPY (
    SELECT * FROM (
        SELECT {level}, count(*) AS record_count,
               count(*) FILTER (log_kind = 'B') AS digital_count,
               count(*) FILTER (log_kind = 'F') AS float_count,
               min(recorded_at) AS first_recorded_at, max(recorded_at) AS last_recorded_at
        FROM '{out}/{file}' GROUP BY {level}
    ) FULL JOIN (SELECT {level}, count(*) AS log_count FROM logs GROUP BY {level}) USING ({level})
    ORDER BY {level}
) TO '{out}/summary_by_{level}.csv' (HEADER)
"""


def main(data: Path, out: Path) -> None:
    """Do everything."""
    package = Path(duckdb_extension_sqlite_scanner.__file__).parent
    extension = next(package.rglob("sqlite_scanner.duckdb_extension"))
    names = {"out": out, "file": "enriched_logs.parquet"}
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        for name in TYPES:
            connection.execute(stage(data, name, out))
        connection.execute(CHAINS.format(**names))
        records = " UNION ALL ".join(RECORDS.format(kind=kind, **names) for kind in "BF")
        connection.execute(ENRICHED.format(records=records, **names))
        connection.execute(WAREHOUSE.format(**names))
        for level in LEVELS:
            connection.execute(SUMMARY.format(level=level, **names))
        connection.execute("DETACH warehouse")
    with closing(sqlite3.connect(out / "warehouse.db")) as warehouse:
        for level in LEVELS:
            warehouse.execute(f"CREATE INDEX ix_{level} ON fact_logs ({level})")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
