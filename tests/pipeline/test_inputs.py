"""Files as exporters write them, run from the command line into the warehouse.

Where the error proposes lines of luigi.cfg, they are pasted as printed, and the run is repeated.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Project, make_project, unwrapped
from tests.runs import soak
from tests.warehouses.stars import rows_of

START = datetime(2025, 2, 3, 21, 0)
FLOATS, DIGITALS = "LOG_RCD_F.csv", "LOG_RCD_B.csv"


@dataclass
class OnServer(Project):
    """A project whose warehouse is on a server."""

    url: str

    def query(self, sql: str) -> list[tuple]:
        return rows_of(self.url, sql)


@pytest.fixture(params=["sqlite", soak("postgresql"), soak("mariadb")])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project with the miniature source files, for each database."""
    made = make_project(tmp_path / "project")
    if request.param == "sqlite":
        return made
    url = str(request.getfixturevalue(request.param))
    path = made.folder / "luigi.cfg"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("sqlite:///data_warehouse.db", url), encoding="utf-8")
    return OnServer(made.folder, url)


def proposed(error: str) -> list[list[str]]:
    """The blocks of luigi.cfg in an error: from a section's line to the last one that belongs."""
    blocks: list[list[str]] = []
    open_block = False
    for line in error.splitlines():
        if re.fullmatch(r"\[[^\]]+\]", line):
            blocks.append([line])
            open_block = True
        elif open_block and re.match(r"[a-z_]+ = |[a-z_]+ =$|    \S|#", line):
            blocks[-1].append(line)
        else:
            open_block = False
    return blocks


def paste(project: Project, error: str) -> list[str]:
    """Paste the first block of each section into luigi.cfg; the sections."""
    path = project.folder / "luigi.cfg"
    text = path.read_text(encoding="utf-8")
    pasted: list[str] = []
    for section, *lines in proposed(error):
        if section in pasted:
            continue
        pasted.append(section)
        block = "\n".join([section, *lines])
        if f"\n{section}\n" in text:
            assert f"section {section}, in place of lines" in error
            text = text.replace(f"\n{section}\n", f"\n{block}\n")
        else:
            text = f"{text}\n{block}\n"
    path.write_text(text, encoding="utf-8")
    return pasted


def write(project: Project, name: str, text: str | bytes) -> None:
    path = project.data / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def refused(project: Project, *sections: str) -> str:
    """The error of a run that fails; its lines are pasted, one block for each of the sections."""
    result = project.fails("CheckWarehouse")
    assert sorted(paste(project, result.err)) == sorted(f"[{section}]" for section in sections)
    return result.err


def records(
    times: Iterable[str], values: Iterable[str] = ("4.5",), *, delimiter: str = ",", end: str = ""
) -> str:
    """Log records of instance 1."""
    some = list(values)
    rows = (("1", time, some[at % len(some)] + end) for at, time in enumerate(times))
    header = ("point_log_inst_id", "log_time", "log_value")
    return "".join(delimiter.join(row) + "\n" for row in (header, *rows))


def every(minutes: int, count: int, form: str, start: datetime = START) -> list[str]:
    return [f"{start + timedelta(minutes=minutes * at):{form}}" for at in range(count)]


def facts(project: Project, kind: str = "F") -> list[tuple[str, float | None, str | None]]:
    rows = project.query(
        "SELECT recorded_at, value, coalesce(value_text, status) FROM fact_logs "
        f"WHERE log_kind = '{kind}' ORDER BY log_id"
    )
    return [(str(time).removesuffix(".000000"), value, status) for time, value, status in rows]


def instants(project: Project, kind: str = "F") -> list[str]:
    return [time for time, _, _ in facts(project, kind)]


def values(project: Project, kind: str = "F") -> list[float | None]:
    return [value for _, value, _ in facts(project, kind)]


def names(project: Project) -> list[str]:
    return [
        name
        for (name,) in project.query(
            "SELECT app_type_description FROM dim_application_type WHERE app_type_id > 0 "
            "ORDER BY app_type_id"
        )
    ]


# Recognised without a setting


def test_what_needs_no_setting_is_read(project: Project) -> None:
    mark = "\ufeff"
    write(
        project, "APP_TYPE.csv", f"{mark * 2}\u200bapp_type_id,name\n1,Kühlregal\n2,NULL\n3,\\N\n"
    )
    write(
        project, "APP_TYPE_REF.csv", "sep=;\napp_type_ref_id;app_type_id;unit_id\n0;1;7\n11;3;7\n"
    )
    instances = f"{mark}app_instance_id\tapp_type_ref_id\r\n100\t0\r\n101\t11\r\n"
    write(project, "APP_INSTANCE.csv", instances.encode("utf-16-le"))
    write(project, "POINT.csv", "point_id|app_instance_id\n1000|100\n1001|101\n")
    write(
        project,
        "LOG_INSTANCE.csv",
        "point_log_inst_id,point_id,eng_unit_id,log_interval\n1.0,1000.0,7.0,300\n2,1001,NULL,\\N\n",
    )
    switched = records(every(1, 4, "%Y-%m-%d %H:%M"), ("active", "INACTIVE", "Alarm", "normal"))
    write(project, DIGITALS, switched.replace("\n", ",\n").replace("value,\n", "value\n"))
    numbers = ("\u22123.5", "+2", '"=""7.25"""', "\u00a04.5", "NULL", "1e3")
    write(project, FLOATS, records(every(1, 6, "%Y-%m-%dT%H:%MZ"), numbers))

    shown = project.luigi("AllReports")

    assert shown.status == 0, shown.log
    assert names(project) == ["Kühlregal", "(no name)", "(no name)"]
    assert project.query(
        "SELECT point_log_inst_id, point_id, app_instance_id, app_type_id, unit_id, eng_unit_id, "
        "log_interval FROM dim_log_instance WHERE point_log_inst_id > 0 ORDER BY 1"
    ) == [(1, 1000, 100, 1, 7, 7, 300), (2, 1001, 101, 3, 7, None, None)]
    assert values(project, "B") == [1.0, 0.0, 1.0, 0.0]
    assert values(project) == [-3.5, 2.0, 7.25, 4.5, None, 1000.0]
    assert instants(project)[0] == "2025-02-03 21:00:00"
    assert {status for _, _, status in facts(project)} == {None}


# Proposed before anything is staged


def test_headers_that_are_elsewhere_are_found_by_the_proposed_lines(project: Project) -> None:
    title = 'Rack export\nSite: North, South\n"Report, daily"\n\n'
    write(project, "APP_TYPE.csv", f"{title}app_type_id,name\n1,Case\n")
    write(project, "APP_TYPE_REF.csv", "app_type_ref_id~app_type_id~unit_id\n0~1~7\n11~1~7\n")
    instances = "app_instance_id,app_type_ref_id\n100,0\n101,11\n"
    write(project, "APP_INSTANCE.csv", instances.encode("utf-16-be"))
    write(
        project,
        FLOATS,
        "point_log_inst_id,Date,Time,value\n1,2025-02-03,21:00:05,1.5\n1,2025-02-03,21:05:05,2\n",
    )
    rows = "".join(
        f"1,2025-02-03 0{hour}:00,2025-02-04 1{hour}:00,{hour % 2}\n" for hour in range(4)
    )
    write(project, DIGITALS, f"point_log_inst_id,log_time,record_time,state\n{rows}")

    error = refused(project, "APP_TYPE", "APP_TYPE_REF", "APP_INSTANCE", "LOG_RCD_F", "LOG_RCD_B")

    assert "skiprows = 4\n" in error
    assert "delimiter = ~\n" in error
    assert "encoding = utf-16-be\n" in error
    assert "recorded_at = Date, Time\n" in error
    assert (
        "recorded_at = log_time\n# or, if that is meant, instead:\n# recorded_at = record" in error
    )
    project.passes("CheckWarehouse")
    assert names(project) == ["Case"]
    assert facts(project) == [("2025-02-03 21:00:05", 1.5, None), ("2025-02-03 21:05:05", 2, None)]
    assert instants(project, "B") == [f"2025-02-03 0{hour}:00:00" for hour in range(4)]


def test_an_hour_beside_a_date_and_abbreviations_of_a_whole_year(project: Project) -> None:
    hours = "".join(f"1,2025-02-03,{hour},{hour}.5\n" for hour in range(24))
    write(project, FLOATS, f"point_log_inst_id,Date,Hour,value\n{hours}")
    year = ("14-Jan-25 2:00:00 PM EST", "14-Jul-25 2:00:00 PM EDT", "02-Nov-25 1:30:00 AM EDT",
            "02-Nov-25 1:30:00 AM EST")  # fmt: skip
    write(project, DIGITALS, records(year, "1"))

    # What is guessed from a date alone is loaded with a warning.
    warned = refused(project, "LOG_RCD_B", "LOG_RCD_F")
    assert "recorded_at was guessed from Date, which holds dates alone" in unwrapped(warned)
    assert "[LOG_RCD_F]\nrecorded_at = Date, Hour" in warned
    assert "time_format = %d-%b-%y %I:%M:%S %p %Z\nsource_timezone = America/New_York\n" in warned
    # ISO 8601 has hours of two digits.
    assert "time_format =\n    iso\n    %Y-%m-%d %H\n" in refused(project, "LOG_RCD_F")
    project.passes("CheckWarehouse")
    assert instants(project) == [f"2025-02-03 {hour:02}:00:00" for hour in range(24)]
    assert instants(project, "B") == [
        "2025-01-14 19:00:00",
        "2025-07-14 18:00:00",
        "2025-11-02 05:30:00",
        "2025-11-02 06:30:00",
    ]


# Proposed while staging


def test_other_dialects_are_read_by_the_proposed_lines(project: Project) -> None:
    write(project, "APP_TYPE.csv", "app_type_id,name\n1,Süßwaren\n2,Tür °C\n".encode("cp1252"))
    write(
        project,
        "APP_TYPE_REF.csv",
        "app_type_ref_id,app_type_id,unit_id\n---------------,-----------,-------\n"
        "0,1,7\n11,2,7\n\n(2 rows affected)\n",
    )
    points = 'point_id,app_instance_id,label\n1000,100,"Probe \\"A\\", left"\n1001,101,"B"\n'
    write(project, "POINT.csv", points)
    write(project, "LOG_INSTANCE.csv", 'point_log_inst_id,point_id\n1,"1,000"\n2,"1,001"\n')
    # German: semicolons, decimal comma, thousands, and no time of day at midnight.
    times = [time.removesuffix(" 00:00:00") for time in every(60, 24, "%d.%m.%Y %H:%M:%S")]
    german = records(times, ("1.204,5", "-0,25", "12"), delimiter=";")
    write(project, FLOATS, german)
    write(project, DIGITALS, records(every(1, 30, "%Y%m%d%H%M%S"), ("on", "off")))

    error = refused(
        project, "APP_TYPE", "APP_TYPE_REF", "POINT", "LOG_INSTANCE", "LOG_RCD_F", "LOG_RCD_B"
    )

    assert "[APP_TYPE]\nencoding = cp1252\n" in error
    assert "[APP_TYPE_REF]\nskiprows = [1]\nskipfooter = 2\n" in error
    assert "[POINT]\nescapechar = \\\\\n" in error
    assert "[LOG_INSTANCE]\nthousands = ,\n" in error
    project.passes("CheckWarehouse")
    assert names(project) == ["Süßwaren", "Tür °C"]
    units = "SELECT DISTINCT unit_id FROM dim_application_instance ORDER BY 1"
    assert project.query(units) == [(-1,), (7,)]
    assert project.query("SELECT point_id FROM dim_log_instance ORDER BY 1") == [
        (-1,),
        (1000,),
        (1001,),
    ]
    assert values(project)[:4] == [1204.5, -0.25, 12.0, 1204.5]
    assert instants(project)[2:5] == [f"2025-02-03 {hour}:00:00" for hour in (23,)] + [
        "2025-02-04 00:00:00",
        "2025-02-04 01:00:00",
    ]
    assert instants(project, "B")[:2] == ["2025-02-03 21:00:00", "2025-02-03 21:01:00"]


@pytest.mark.parametrize(
    ("floats", "digitals", "step", "choices"),
    [
        soak("%Y%m%d%H%M", "%y%m%d%H%M%S", 1, 0),
        soak("%d%m%Y%H%M", "%d.%m.%Y %H.%M", 60 * 24, 0),
        ("%m/%d/%Y %I:%M %p", "%d-%b-%y %H:%M:%S", 60 * 24 + 61, 0),
        soak("%Y%m%d%H", "%y%m%d%H%M", 60, 2),  # Which may be epoch times too.
    ],
)
def test_times_in_another_form_are_read_by_the_proposed_format(
    project: Project, floats: str, digitals: str, step: int, choices: int
) -> None:
    write(project, FLOATS, records(every(step, 40, floats)))
    write(project, DIGITALS, records(every(step, 40, digitals), "1"))
    error = refused(project, "LOG_RCD_F", "LOG_RCD_B")
    assert f"[LOG_RCD_F]\ntime_format = {floats}\n" in error
    assert f"[LOG_RCD_B]\ntime_format = {digitals}\n" in error
    assert len(re.findall(r"either\n\[LOG_RCD_[BF]\]\ntime_format = %.*\nor\n", error)) == choices
    project.passes("CheckWarehouse")
    expected = every(step, 40, "%Y-%m-%d %H:%M:00")
    assert (instants(project), instants(project, "B")) == (expected, expected)


def test_values_of_words_alone_need_a_setting(project: Project) -> None:
    write(project, FLOATS, records(every(1, 20, "%Y-%m-%d %H:%M"), ("low", "high")))
    write(project, DIGITALS, records(every(1, 20, "%Y-%m-%d %H:%M"), ("Ein", "Aus")))
    error = refused(project, "LOG_RCD_F", "LOG_RCD_B")
    assert "[LOG_RCD_F]\nsentinels =\n    high\n    low\n" in error
    assert "[LOG_RCD_B]\ntrue_values = Ein\nfalse_values = Aus\n" in error
    project.passes("CheckWarehouse")
    assert values(project, "B") == [1.0, 0.0] * 10
    assert facts(project)[:2] == [
        ("2025-02-03 21:00:00", None, "low"),
        ("2025-02-03 21:01:00", None, "high"),
    ]


def test_the_same_bytes_twice_are_refused_packed_or_not(project: Project) -> None:
    for name in (FLOATS, DIGITALS):
        (project.data / name).unlink()
    day = records(every(1, 3, "%Y-%m-%d %H:%M"))
    write(project, "LOG_RCD_F/2025-02-03.csv", day)
    write(project, "LOG_RCD_F/2025-02-03 (1).csv", day)
    write(project, "LOG_RCD_F/empty.csv", records([]))
    write(project, "LOG_RCD_F/empty too.csv", records([]))
    write(project, "LOG_RCD_B/one.csv", day.replace("4.5", "1"))
    write(project, "LOG_RCD_B/two.csv.gz", gzip.compress(day.replace("4.5", "1").encode()))
    error = refused(project, "LOG_RCD_F", "LOG_RCD_B")
    assert "2025-02-03 (1).csv and LOG_RCD_F/2025-02-03.csv" in error
    assert "LOG_RCD_B/one.csv and LOG_RCD_B/two.csv.gz" in error
    assert "empty" not in error
    project.passes("CheckWarehouse")
    assert instants(project) == every(1, 3, "%Y-%m-%d %H:%M:00") * 2
    assert values(project, "B") == [1.0] * 6


# Loaded with a warning


def test_a_loss_of_all_of_a_log_instance_raises_a_warning(project: Project) -> None:
    times = every(10, 1000, "%Y-%m-%d %H:%M")
    some = ["1"] * 1000
    some[::250] = ["7 F"] * 4  # All of log instance 2, and less than one percent.
    lines = records(times, some).splitlines()
    lines = [line.replace("1,", "2,", 1) if "7 F" in line else line for line in lines]
    write(project, DIGITALS, "\n".join(lines))
    result = project.passes("CheckWarehouse")
    assert "4 of 4 rows of log instance 2 were rejected: value is not a switch" in result.log
    assert len(facts(project, "B")) == 996


def test_codes_are_sentinels_where_a_setting_says_so(project: Project) -> None:
    some = ("4.5", "E17", "FAULT 3", "NO DATA", "5")
    write(project, FLOATS, records(every(1, 20, "%Y-%m-%d %H:%M"), some))
    midnights = [
        f"2025-02-{day:02} {hour or 24:02}:00" for day in range(1, 6) for hour in range(24)
    ]
    write(project, DIGITALS, records(midnights, "1"))
    project.configure("[LOG_RCD_B]\nmax_rejected = 0.05")
    error = refused(project, "LOG_RCD_F")
    assert "value is not a number: 'E17' (it has letters)" in error
    result = project.passes("CheckWarehouse")
    assert "12 of 20 values are sentinels in place of a number (60.0%" in result.log
    assert facts(project)[1:4] == [
        ("2025-02-03 21:01:00", None, "E17"),
        ("2025-02-03 21:02:00", None, "FAULT 3"),
        ("2025-02-03 21:03:00", None, "NO DATA"),
    ]
    assert "5 of 5 rows of the time of day 00:00 were rejected" in error


def test_the_repeated_hour_is_resolved_by_the_order_of_records(project: Project) -> None:
    local = every(20, 15, "%Y-%m-%d %H:%M", datetime(2025, 10, 25, 23, 0))
    # Clocks show 02:00 to 02:59 twice.
    local = [*local[:12], *local[9:]]
    instant = every(20, 18, "%Y-%m-%d %H:%M:00", datetime(2025, 10, 25, 21, 0))
    project.configure("[source defaults]\nsource_timezone = Europe/Berlin")
    write(project, FLOATS, records(local))
    write(project, DIGITALS, records(reversed(local), "1"))
    project.passes("CheckWarehouse")
    assert instants(project) == instant
    assert instants(project, "B") == instant[::-1]
