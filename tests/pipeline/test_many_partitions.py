"""Log records in many files: the result is that of one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Project, make_project
from tests.runs import add_partition


@pytest.mark.soak
def test_many_parts_give_what_one_file_gives(tmp_path: Path) -> None:
    whole = make_project(tmp_path / "whole", data=None)
    whole.passes("SampleData", "--scale", "0.01", "--seed", "5")
    parts = make_project(tmp_path / "parts", whole.data)
    for source in ("LOG_RCD_B", "LOG_RCD_F"):
        header, *lines = (parts.data / f"{source}.csv").read_text().splitlines(keepends=True)
        (parts.data / f"{source}.csv").unlink()
        size = len(lines) // 9 + 1
        for at in range(0, len(lines), size):
            add_partition(parts, f"{at:06}.csv", header + "".join(lines[at : at + size]), source)
    for project in (whole, parts):
        project.passes("AllReports")
    columns = "unit_id, app_instance_id, app_type_id, point_id, point_log_inst_id, recorded_at,"
    facts = f"SELECT {columns} value, status, log_kind FROM fact_logs ORDER BY 1, 2, 3, 4, 5, 6, 7"
    assert parts.query(facts) == whole.query(facts)
    for level in ("unit_id", "app_instance_id", "app_type_id"):
        name = f"summary_by_{level}.csv"
        assert (parts.reports / name).read_bytes() == (whole.reports / name).read_bytes()
    for name in ("reconciliation.csv", "records_over_time.csv", "unit_days.csv"):
        assert parts.report(name) == whole.report(name)
    assert profile_of(parts) == profile_of(whole)


def profile_of(project: Project) -> list[dict]:
    """The profiles; what may depend on the parts is left out: bounds of frequent values."""
    sources = project.report("profile.json")
    columns = [column for source in sources.values() for column in source["columns"]]
    for column in columns:
        if not column["frequent_is_exact"]:
            del column["frequent"], column["frequent_error"]
    return columns
