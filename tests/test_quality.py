"""The data quality report: figures and verdicts."""

from __future__ import annotations

import json

from tasks.templates import markdown_text
from tests.conftest import Project


def figures(project: Project) -> dict:
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    loaded: dict = json.loads((project.reports / "data_quality.json").read_text(encoding="utf-8"))
    return loaded


def verdicts(project: Project) -> dict[str, bool]:
    return {item["assumption"]: item["holds"] for item in figures(project)["assumptions"]}


ONE_TYPE = "Each application instance belongs to one application type."
ONE_TO_MANY = "The relations are one-to-many."
CLEAN = "The data is relatively clean."


def test_the_relations_are_measured(ran: Project) -> None:
    relations = {
        (r["parent"], r["child"]): (
            r["parents"],
            r["parents_in_use"],
            r["most_children"],
            r["children"],
            r["orphans"],
        )
        for r in figures(ran)["relations"]
    }
    assert relations == {
        ("APP_TYPE", "APP_TYPE_REF"): (4, 3, 1, 4, 1),
        ("APP_TYPE_REF", "APP_INSTANCE"): (4, 4, 2, 6, 1),
        ("APP_INSTANCE", "POINT"): (6, 6, 2, 8, 1),
        ("POINT", "LOG_INSTANCE"): (8, 7, 1, 8, 1),
        ("LOG_INSTANCE", "LOG_RCD_B"): (8, 2, 3, 5, 1),
        ("LOG_INSTANCE", "LOG_RCD_F"): (8, 6, 2, 8, 0),
    }


def test_the_miniature_fits_the_model_but_is_not_clean(ran: Project) -> None:
    # 4 of 13 records have no unit.
    assert verdicts(ran) == {ONE_TYPE: True, ONE_TO_MANY: True, CLEAN: False}


def test_an_application_instance_of_two_types_breaks_the_assumption(project: Project) -> None:
    config = project.folder / "luigi.cfg"
    config.write_text(config.read_text().replace("max_rejected = 0.01", "max_rejected = 0.5"))
    project.edit("APP_INSTANCE.csv", "104,55,No such reference", "100,11,Case 1")
    found = figures(project)
    assert found["sources"]["APP_INSTANCE"]["repeated_keys"] == {"different": 1}
    by_name = {item["assumption"]: item for item in found["assumptions"]}
    assert by_name[ONE_TYPE]["holds"] is False
    assert "1 further rows give one of them again" in by_name[ONE_TYPE]["figures"]
    assert by_name[ONE_TO_MANY]["holds"] is False


def test_a_row_that_is_merely_repeated_does_not_break_it(project: Project) -> None:
    config = project.folder / "luigi.cfg"
    config.write_text(config.read_text().replace("max_rejected = 0.01", "max_rejected = 0.5"))
    project.edit("APP_INSTANCE.csv", "104,55,No such reference", "100,0,Case 1")
    found = figures(project)
    assert found["sources"]["APP_INSTANCE"]["repeated_keys"] == {"same": 1}
    assert {item["assumption"]: item["holds"] for item in found["assumptions"]}[ONE_TYPE]


def test_clean_data_is_told_clean(project: Project) -> None:
    for name, old, new in (
        ("POINT.csv", "1005,999", "1005,100"),
        ("APP_INSTANCE.csv", "104,55", "104,0"),
        ("LOG_INSTANCE.csv", "8,8888", "8,1000"),
        ("LOG_RCD_B.csv", "5,77", "5,3"),
    ):
        project.edit(name, old, new)
    assert verdicts(project)[CLEAN] is True


def test_an_export_of_exactly_a_million_rows_is_noted(project: Project) -> None:
    rows = "\n".join(f"{key},0" for key in range(1_000_000))
    (project.data / "APP_INSTANCE.csv").write_text(f"app_instance_id,app_type_ref_id\n{rows}\n")
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    text = (project.reports / "data_quality.md").read_text(encoding="utf-8")
    assert "APP_INSTANCE has exactly 1,000,000 rows: it looks like an export that was cut" in text
    assert "| APP_INSTANCE (capped export?) | app_instance_id |" in text
    assert "POINT has exactly" not in text
    assert "a capped export?" in result.out


def test_words_in_place_of_values_are_counted_and_a_wrong_column_is_suspected(
    project: Project,
) -> None:
    log = project.data / "LOG_RCD_F.csv"
    log.write_text("point_log_inst_id,value\n1,cold\n1,cold\n1,warm\n1,4\n")
    figures(project)
    text = (project.reports / "data_quality.md").read_text(encoding="utf-8")
    assert "3 records of LOG_RCD_F have a word in place of a value" in text
    assert "cold (2), warm (1). More than half: is this column the value?" in text


def test_what_is_not_mapped_and_what_further_data_would_help_is_told(project: Project) -> None:
    log = project.data / "LOG_RCD_F.csv"
    log.write_text("point_log_inst_id,when,how_much,changed_by\n1,2024-06-01,4,me\n")
    found = figures(project)
    assert [item["line"] for item in found["unmapped"]] == [
        "[LOG_RCD_F] recorded_at = <header of the time>",
        "[LOG_RCD_F] value = <header of the value>",
        "[LOG_RCD_F] status = <header of status>",
    ]
    present = {item["what"]: item["present"] for item in found["further_data"]}
    assert present["Times of the records"] == "present: LOG_RCD_B.log_time"
    assert present["Users"] == "present: LOG_RCD_F.changed_by"
    assert project.query("SELECT count(*) FROM fact_logs WHERE log_kind = 'F'") == [(1,)]


def test_data_cannot_break_the_report() -> None:
    assert markdown_text("a|b\n# <script>") == "a\\|b \\# \\<script\\>"
