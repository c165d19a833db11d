"""Profiles of columns, against what pandas and Python make of the same values."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st

from config.declarations import Column, Source, Type
from tasks.measures.profile import SourceProfile, merge_profiles, profile_file
from tasks.parsing.numbers import INSTANT
from tasks.reports.profile import QUANTILES, source_figures
from tasks.staging.stage import Audit
from tests.activity import SECOND, YEAR_1, YEAR_9999
from tests.conftest import Project

SCHEMA = pa.schema(
    [("key", pa.int64()), ("at", INSTANT), ("value", pa.float64()), ("text", pa.string())]
)
SOURCE = Source(
    name="LOG_RCD_F",
    grain="one row per record",
    columns=(
        Column("key", Type.INTEGER, "Key."),
        Column("at", Type.TIMESTAMP, "Time.", nullable=True),
        Column("value", Type.NUMBER, "Value.", nullable=True),
    ),
)
AUDIT = Audit(
    source="LOG_RCD_F",
    file="LOG_RCD_F.csv",
    header=["Key", "text"],
    recognised={"key": "Key"},
    absent=["at", "value"],
    observed_types={"Key": "integer", "text": "text"},
)
Row = tuple[int | None, int | None, float | None, str | None]

HOSTILE = [
    "",
    " ",
    "<script>alert(1)</script>",
    "=1+1",
    "\u202eright to left",
    "👩‍🚒",
    "\0",
    '"',
    "a,b\r\nc",
    "x" * 5_000,
    "x" * 4_999 + "y",
]
READ = ["7", "-2.5", "7.0 ", "1e3", "2024-06-01 12:00", "2024-06-02"]
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 3)),
        st.one_of(st.none(), st.integers(YEAR_1, YEAR_9999 + SECOND - 1), st.just(0)),
        st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 1.5])),
        st.one_of(st.none(), st.text(max_size=5), st.sampled_from([*HOSTILE, *READ])),
    ),
    max_size=40,
)


def table_of(rows: list[Row]) -> pa.Table:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 4
    arrays = [
        pa.array(column, field.type, from_pandas=False)
        for column, field in zip(columns, SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def profile(
    folder: Path, *partitions: pa.Table, group_rows: int = 9, primary_key: str | None = None
) -> SourceProfile:
    files = []
    for number, table in enumerate(partitions):
        staged, into = folder / f"{number}.parquet", folder / f"{number}.json"
        pq.write_table(table, staged, row_group_size=group_rows)
        assert profile_file(staged, primary_key, into) == len(table)
        files.append(into)
    return merge_profiles(files)


def figures(profile: SourceProfile) -> dict[str, dict[str, Any]]:
    found = source_figures(profile, SOURCE, AUDIT)
    json.dumps(found, allow_nan=False)
    return {column["name"]: column for column in found["columns"]}


def frequent(values: list) -> list[int]:
    """How often the most frequent values occur."""
    return sorted(Counter(values).values(), reverse=True)[:10]


@given(rows=ROWS, group_rows=st.integers(1, 50))
def test_each_column_is_what_python_makes_of_its_values(
    tmp_path: Path, rows: list[Row], group_rows: int
) -> None:
    found = figures(profile(tmp_path, table_of(rows), group_rows=group_rows))
    for place, name in enumerate(SCHEMA.names):
        column = found[name]
        values: list[Any] = [row[place] for row in rows if row[place] is not None]
        assert (column["rows"], column["nulls"]) == (len(rows), len(rows) - len(values))
        if name == "value":
            assert column["not_finite"] == sum(not math.isfinite(value) for value in values)
            values = [value + 0.0 for value in values if math.isfinite(value)]
        assert column["distinct"] == len(set(values))
        assert column["distinct_is_exact"]
        assert column["frequent_is_exact"]
        assert [item["count"] for item in column["frequent"]] == frequent(values)
        if name in ("key", "value"):
            assert column["minimum"] == min(values, default=None)
            assert column["maximum"] == max(values, default=None)
            assert {item["value"] for item in column["frequent"]} <= set(values)
        if name == "at" and values:
            assert column["minimum"] == time_text(min(values))
            assert column["maximum"] == time_text(max(values))
        if name == "text":
            assert column["empty"] == values.count("")
            if column["read_as"] is None:
                assert column["minimum"] == min((text[:200] for text in values), default=None)
                assert column["maximum"] == max((text[:200] for text in values), default=None)
                assert column["histogram"] is None
            assert column["shortest"] == min(map(len, values), default=None)
            assert column["longest"] == max(map(len, values), default=None)
        elif values:
            assert sum(column["histogram"]["counts"]) == len(values)
            if name != "at":
                assert column["mean"] == float(sum(map(Fraction, values)) / len(values))
            for share, quantile in zip(
                QUANTILES.values(), column["quantiles"].values(), strict=True
            ):
                exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
                assert quantile == (time_text(exact) if name == "at" else exact)
        else:
            assert column["histogram"] is None


def time_text(moment_us: int) -> str:
    fine = "us" if moment_us % 1_000_000 else "s"
    return np.datetime64(moment_us, "us").astype(f"datetime64[{fine}]").item().isoformat(" ")


@given(partitions=st.lists(ROWS, min_size=1, max_size=4))
@example(partitions=[[(None, None, 0.0, None)], [(None, None, 1.8e-272, None)]])
def test_partitions_add_up_to_the_whole(tmp_path: Path, partitions: list[list[Row]]) -> None:
    whole = profile(tmp_path, table_of([row for one in partitions for row in one]))
    merged = profile(tmp_path, *(table_of(one) for one in partitions))
    assert figures(merged) == figures(whole)


def test_partitions_with_many_values_add_up_but_for_bounds_of_frequent_ones(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = 60_000
    table = pa.table(
        {
            "key": random.integers(0, 50_000, rows),
            "at": pa.array(random.integers(0, 10**15, rows)).cast(INSTANT),
            "value": np.where(random.random(rows) < 0.2, 7.0, random.normal(size=rows)),
            "text": pa.array(random.integers(0, 20_000, rows)).cast(pa.string()),
        },
        schema=SCHEMA,
    )
    whole = figures(profile(tmp_path, table, group_rows=20_000))
    slices = [table.slice(at, 7_000) for at in range(0, rows, 7_000)]
    merged = figures(profile(tmp_path, *slices, group_rows=3_000))
    for name, column in whole.items():
        assert not column["distinct_is_exact"]
        exact = len(set(table[name].to_pylist()))
        assert abs(column["distinct"] - exact) < 4 * column["distinct_error"] * exact
        assert column["quantile_error"] > 0
        check_quantiles(column, table[name], 1e6 if name == "at" else 1)
        found = {key: value for key, value in column.items() if not key.startswith("frequent")}
        assert {key: merged[name][key] for key in found} == found
    sevens = table["value"].to_pylist().count(7.0)
    for found in (whole, merged):
        (first,) = found["value"]["frequent"]
        assert first["value"] == 7.0
        assert first["count"] <= sevens <= first["count"] + found["value"]["frequent_error"]
        assert not found["value"]["frequent_is_exact"]


def check_quantiles(column: dict[str, Any], values: pa.ChunkedArray, scale: float) -> None:
    """Each is within the error that is given; times in seconds."""
    numbers = values.cast(pa.int64()) if values.type == INSTANT else values
    ordered = sorted(float(number) / scale for number in numbers.to_pylist())
    for share, found in zip(QUANTILES.values(), column["quantiles"].values(), strict=True):
        if isinstance(found, str):
            found = np.datetime64(found, "us").astype(int) / scale
        exact = ordered[math.ceil(share * len(ordered)) - 1]
        assert abs(found - exact) <= column["quantile_error"]


def test_texts_that_are_numbers_or_times_are_profiled_as_such(tmp_path: Path) -> None:
    numbers = [f"{number}" for number in (9, 10, 100, -5)] * 10
    table = table_of([(None, None, None, text) for text in [*numbers, "", " ", "N/A", "open"]])
    column = figures(profile(tmp_path, table))["text"]
    assert (column["read_as"], column["not_read"]) == ("number", 2)
    assert (column["minimum"], column["maximum"], column["mean"]) == (-5, 100, 28.5)
    assert [*column["quantiles"].values()] == [-5, -5, 9, 10, 100]
    assert column["quantile_error"] == 0
    assert sum(column["histogram"]["counts"]) == 40
    times = [f"2024-06-0{day} 12:00" for day in (1, 2, 4)]
    column = figures(profile(tmp_path, table_of([(None, None, None, text) for text in times])))[
        "text"
    ]
    assert (column["read_as"], column["mean"]) == ("timestamp", "2024-06-02 20:00:00")
    assert (column["minimum"], column["maximum"]) == ("2024-06-01 12:00:00", "2024-06-04 12:00:00")


def test_texts_of_which_too_many_are_no_numbers_stay_texts(tmp_path: Path) -> None:
    for others in (["no", "yes"] * 3, [f"room {number}" for number in range(17)]):
        texts = [*others, *(["7"] * (50 if len(others) < 17 else 1000))]
        column = figures(profile(tmp_path, table_of([(None, None, None, t) for t in texts])))[
            "text"
        ]
        assert (column["read_as"], column["mean"], column["histogram"]) == (None, None, None)
        assert column["minimum"] == "7"


def test_texts_are_read_as_the_source_writes_them(tmp_path: Path) -> None:
    staged, into = tmp_path / "0.parquet", tmp_path / "0.json"
    rows: list[Row] = [(None, None, None, text) for text in ("1.234,5", "-")]
    pq.write_table(table_of(rows * 30), staged)
    profile_file(staged, None, into, replace(SOURCE, decimal=",", thousands=".", na_values=("-",)))
    column = figures(merge_profiles([into]))["text"]
    assert (column["read_as"], column["maximum"], column["not_read"]) == ("number", 1234.5, 0)


def test_a_primary_key_is_not_counted(tmp_path: Path) -> None:
    table = table_of([(key, None, None, None) for key in range(9_000)])
    column = figures(profile(tmp_path, table, group_rows=1_000, primary_key="key"))["key"]
    assert (column["distinct"], column["distinct_is_exact"]) == (9_000, True)
    assert column["frequent"] == []
    assert sum(column["histogram"]["counts"]) == 9_000


def test_each_column_has_its_origin(tmp_path: Path) -> None:
    found = figures(profile(tmp_path, table_of([(1, None, None, "a")])))
    assert [
        (column["name"], column["header"], column["origin"], column["type"], column["looks_like"])
        for column in found.values()
    ] == [
        ("key", "Key", "recognised", Type.INTEGER, "integer"),
        ("at", None, "absent", Type.TIMESTAMP, None),
        ("value", None, "absent", Type.NUMBER, None),
        ("text", "text", "carried", Type.TEXT, "text"),
    ]


def test_partitions_may_have_different_columns(tmp_path: Path) -> None:
    one = table_of([(1, None, None, "a")])
    two = table_of([(2, None, None, "b")]).rename_columns(["key", "at", "value", "site"])
    found = figures(profile(tmp_path, one, two))
    counts = {name: column["rows"] for name, column in found.items()}
    assert counts == {"key": 2, "at": 2, "value": 2, "text": 1, "site": 1}


def test_what_is_kept_of_a_column_stays_small_whatever_it_holds(tmp_path: Path) -> None:
    long = [f"{number} " + "x" * 3_000 for number in range(5_000)]
    profile(tmp_path, table_of([(1, 2, 3.0, text) for text in long]), group_rows=1_000)
    assert (tmp_path / "0.json").stat().st_size < 1_200_000


def test_whatever_columns_are_called_and_hold_is_profiled(project: Project) -> None:
    path = project.data / "POINT.csv"
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    names = ["a.b", "point_id.x", "=HYPERLINK(1)", "<b>", "", "\u202eabc", "nothing", "huge"]
    values = ["1", "2", "@x", "<script>", "👩‍🚒", '"a,""b"', "", "x" * 300_000]
    text = "\n".join([",".join([header, *names]), *(",".join([line, *values]) for line in lines)])
    path.write_text(text + "\n", encoding="utf-8")
    project.passes("ProfileReport")
    found = project.report("profile.json")["POINT"]
    columns = {column["name"]: column for column in found["columns"]}
    frequent = [column["frequent"][0]["value"] for column in list(columns.values())[5:]]
    assert frequent == ["1", "2", "@x", "<script>", "👩‍🚒", 'a,"b', "", "x" * 200]
    assert columns["a.b"]["distinct"] == columns["nothing"]["distinct"] == 1
    assert (columns["nothing"]["empty"], columns["huge"]["longest"]) == (8, 300_000)
    rows = project.report("profile.csv")
    named = [(row["column"], row["header"]) for row in rows if row["column"][:1] == "'"]
    assert named == [("'=HYPERLINK(1)", "'=HYPERLINK(1)")]
    # Texts are marked, numbers are not.
    assert [row["minimum"] for row in rows if row["minimum"][:1] in ("'", "-")] == ["'@x", "-21.0"]
    assert [row["most_frequent"] for row in rows if row["most_frequent"][:1] == "'"] == ["'@x"]
