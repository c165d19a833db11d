"""A peer: the same job as a pandas script, as it is usually written. `peer_pandas.py DATA OUT`.

CSV to Parquet, merges, `to_sql` through SQLAlchemy, three indexes, group sizes to CSV; everything
anew, each time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

KEYS = {
    "APP_TYPE": ["app_type_id"],
    "APP_TYPE_REF": ["app_type_ref_id", "app_type_id", "unit_id"],
    "APP_INSTANCE": ["app_instance_id", "app_type_ref_id"],
    "POINT": ["point_id", "app_instance_id"],
    "LOG_INSTANCE": ["point_log_inst_id", "point_id"],
    "LOG_RCD_B": ["point_log_inst_id"],
    "LOG_RCD_F": ["point_log_inst_id"],
}
LEVELS = ["unit_id", "app_instance_id", "app_type_id"]
FACT = ["log_id", *LEVELS, "point_id", "point_log_inst_id", "recorded_at", "value", "status"]
FACT += ["log_kind"]


def stage(data: Path, name: str, out: Path) -> pd.DataFrame:
    """Read a file, leave out the rows that cannot be read, write it as Parquet."""
    frame = pd.read_csv(
        data / f"{name}.csv", on_bad_lines="skip", keep_default_na=False, low_memory=False
    )
    if name in ("APP_INSTANCE", "POINT"):  # Rows with too few fields.
        frame = frame[frame[frame.columns[-1]].fillna("") != ""]
    for key in KEYS[name]:
        if frame[key].dtype != "int64":
            frame[key] = pd.to_numeric(frame[key], errors="coerce")
            frame = frame.dropna(subset=[key]).astype({key: "int64"})
    if name.startswith("LOG_RCD"):
        frame["log_time"] = pd.to_datetime(
            frame["log_time"], format="%Y-%m-%d %H:%M:%S", errors="coerce"
        )
        frame = frame.dropna(subset=["log_time"])
        value = pd.to_numeric(frame["log_value"], errors="coerce")
        word = frame["log_value"].where(value.isna())
        status = frame["status"].where(frame["status"] != "")
        both = (status + "; " + word.astype("str")).where(status.notna(), word)
        frame["status"] = status.where(word.isna(), both)
        frame["log_value"] = value
    else:
        frame = frame.drop_duplicates(KEYS[name][0])
    frame.to_parquet(out / f"{name}.parquet", index=False)
    return frame


def main(data: Path, out: Path) -> None:
    """Do everything."""
    staged = {name: stage(data, name, out) for name in KEYS}
    types, refs = staged["APP_TYPE"], staged["APP_TYPE_REF"]

    instances = staged["APP_INSTANCE"][["app_instance_id", "app_type_ref_id"]]
    instances = instances.merge(refs, on="app_type_ref_id", how="left", validate="m:1")
    instances.loc[instances["unit_id"].isna(), "app_type_ref_id"] = -1
    instances.loc[~instances["app_type_id"].isin(types["app_type_id"]), "app_type_id"] = -1
    instances = instances.fillna(-1).astype("int64")

    logs = staged["LOG_INSTANCE"].merge(
        staged["POINT"][["point_id", "app_instance_id"]], on="point_id", how="left", validate="m:1"
    )
    logs = logs.merge(instances, on="app_instance_id", how="left", validate="m:1", indicator=True)
    logs.loc[logs["_merge"] == "left_only", "app_instance_id"] = -1
    keys = ["app_instance_id", "app_type_id", "unit_id"]
    logs[keys] = logs[keys].fillna(-1).astype("int64")

    facts = pd.concat(
        [staged["LOG_RCD_B"].assign(log_kind="B"), staged["LOG_RCD_F"].assign(log_kind="F")]
    )
    facts = facts.rename(columns={"log_time": "recorded_at", "log_value": "value"})
    chain = ["point_log_inst_id", "point_id", *keys]
    facts = facts.merge(logs[chain], on="point_log_inst_id", how="left", validate="m:1")
    facts.loc[facts["point_id"].isna(), "point_log_inst_id"] = -1
    facts[["point_id", *keys]] = facts[["point_id", *keys]].fillna(-1).astype("int64")
    facts["log_id"] = range(1, len(facts) + 1)
    facts[FACT].to_parquet(out / "enriched_logs.parquet", index=False)

    trimmed = types["name"].str.strip()
    dimensions = {
        "dim_application_type": pd.DataFrame(
            {
                "app_type_id": [-1, *types["app_type_id"]],
                "app_type_description": ["Unknown", *trimmed.where(trimmed != "", "(no name)")],
            }
        ),
        "dim_unit": pd.DataFrame({"unit_id": [-1, *sorted(refs["unit_id"].unique())]}).assign(
            unit_name=lambda units: "Unit " + units["unit_id"].astype("str")
        ),
        "dim_application_instance": pd.concat(
            [pd.DataFrame([dict.fromkeys(instances.columns, -1)]), instances]
        ),
        "dim_log_instance": pd.concat(
            [
                pd.DataFrame([{**dict.fromkeys(chain, -1)}]),
                logs[[*chain, "eng_unit_id", "log_interval"]],
            ]
        ),
    }
    engine = sa.create_engine(f"sqlite:///{out / 'warehouse.db'}")
    with engine.begin() as connection:
        for name, members in dimensions.items():
            members.to_sql(name, connection, index=False)
        facts[FACT].to_sql("fact_logs", connection, index=False, chunksize=100_000)
        for level in LEVELS:
            connection.execute(sa.text(f"CREATE INDEX ix_{level} ON fact_logs ({level})"))
    for level in LEVELS:
        counts = facts.groupby(level).agg(
            record_count=("log_id", "size"),
            digital_count=("log_kind", lambda kind: (kind == "B").sum()),
            first_recorded_at=("recorded_at", "min"),
            last_recorded_at=("recorded_at", "max"),
        )
        counts["log_count"] = logs.groupby(level).size()
        counts["float_count"] = counts["record_count"] - counts["digital_count"]
        counts = counts.fillna({"log_count": 0}).astype({"log_count": "int64"})
        counts.reset_index().to_csv(out / f"summary_by_{level}.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
