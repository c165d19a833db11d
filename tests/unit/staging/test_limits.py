"""How much may be rejected, and what is proposed where it is more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.declarations import Source
from config.sources import APP_TYPE, LOG_INSTANCE, LOG_RCD_F, POINT
from tests.staged import advice, failure, stage


@pytest.mark.parametrize(
    ("rows", "bad", "max_rejected", "is_accepted"),
    [
        (10, 0, 0.0, True),
        (100, 1, 0.01, True),
        (200, 2, 0.01, True),
        (100, 29, 0.29, True),
        (1000, 57, 0.057, True),
        (3, 3, 1.0, True),
        (1000, 1, 0.0, False),
        (99, 1, 0.01, False),
        (100, 2, 0.01, False),
        (4, 3, 0.5, False),
    ],
)
def test_exactly_the_accepted_share_may_be_quarantined(
    tmp_path: Path, rows: int, bad: int, max_rejected: float, is_accepted: bool
) -> None:
    content = "app_type_id\n" + "x\n" * bad + "".join(f"{n}\n" for n in range(rows - bad))

    if is_accepted:
        audit = stage(tmp_path, content, max_rejected=max_rejected).audit
        assert (audit.rows, audit.rejected) == (rows, bad)
    else:
        message = failure(tmp_path, content, max_rejected=max_rejected)
        assert message.startswith(f"APP_TYPE.csv: {bad:,} of {rows:,} rows cannot be read as ")


def test_the_refusal_tells_the_counts_the_first_rows_and_what_to_do(tmp_path: Path) -> None:
    good = "".join(f"{number},2024-06-01\n" for number in range(1200))
    bad = "1,01.06.2024\n2\n3,02.06.2024\n" + "".join(f"{n},02.06.2024\n" for n in range(1300))

    message = failure(
        tmp_path, f"point_log_inst_id,log_time\n{good}{bad}", LOG_RCD_F, max_rejected=0.025
    )

    assert message == (
        "LOG_RCD_F.csv: 1,303 of 2,503 rows cannot be read as declared; "
        "at most 2.5% may be rejected. Nothing was replaced.\n"
        "  1,302 x recorded_at is not a timestamp\n"
        "  1 x too few fields\n"
        "  the first of them:\n"
        "  line 1202: recorded_at is not a timestamp: '01.06.2024': '1,01.06.2024'\n"
        "  line 1203: too few fields: 1 instead of 2: '2'\n"
        "  line 1204: recorded_at is not a timestamp: '02.06.2024': '3,02.06.2024'\n"
        "  line 1205: recorded_at is not a timestamp: '02.06.2024': '0,02.06.2024'\n"
        "  line 1206: recorded_at is not a timestamp: '02.06.2024': '1,02.06.2024'\n"
        "Fix the file; or paste what would read it into luigi.cfg, section [LOG_RCD_F], in place "
        "of lines of the same name:\n"
        "[LOG_RCD_F]\n"
        "time_format =\n    iso\n    %d.%m.%Y\n"
        "Or accept the loss, in [LOG_RCD_F]: max_rejected = 0.521"
    )


@pytest.mark.parametrize(
    ("content", "source", "how"),
    [
        ("app_type_id\nNULL\n-1\n1\n1\n", APP_TYPE, {}),
        ("point_id,app_instance_id\n1,NULL\n2,x\n", POINT, {}),
        (
            "point_log_inst_id,recorded_at\n1,2024-03-31 02:30\n",
            LOG_RCD_F,
            {"source_timezone": "Europe/Berlin"},
        ),
        ("point_log_inst_id,value\n1,1..2\n2,3\n", LOG_RCD_F, {}),
        ("point_log_inst_id,value\n1,2\n2,a\0b\n", LOG_RCD_F, {}),
    ],
)
def test_no_line_is_proposed_that_cannot_help(
    tmp_path: Path, content: str, source: Source, how: dict[str, Any]
) -> None:
    message = failure(tmp_path, content, source, max_rejected=0, **how)

    assert advice(message).endswith("\nFix the file.")


@pytest.mark.parametrize("block_bytes", [None, 40])
def test_lines_proposed_for_several_columns_together_read_them_all(
    tmp_path: Path, block_bytes: int | None
) -> None:
    content = (
        "point_log_inst_id,point_id,eng_unit_id,log_interval\n1,1,K,none\n2,1,7,60\n3,1,C,none\n"
    )

    message = failure(tmp_path, content, LOG_INSTANCE, max_rejected=0, block_bytes=block_bytes)

    assert "\nna_values =\n    NULL\n    \\N\n    K\n    C\n    none\nOr accept" in message
    na_values = ("NULL", "\\N", "K", "C", "none")
    read = stage(tmp_path, content, LOG_INSTANCE, max_rejected=0, na_values=na_values)
    assert read.columns["eng_unit_id"] == [None, 7, None]


@pytest.mark.parametrize(
    ("source", "content", "lines"),
    [
        (APP_TYPE, "app_type_id,name\n1,a\n\n(1 rows affected)\n", {"skipfooter": 2}),
        (APP_TYPE, "app_type_id,name\n1,a\nx,b\n\n(2 rows, affected)\n", {"skipfooter": 2}),
        (LOG_RCD_F, "point_log_inst_id,value\n1,2\n2,(5)\nTotal\nEnd", {"skipfooter": 2}),
        (APP_TYPE, "app_type_id,name\n-----------,----\n1,a\n", {"skiprows": (1,)}),
        (LOG_RCD_F, "point_log_inst_id,value\n---,---\n1,2\n", {"skiprows": (1,)}),
        (LOG_RCD_F, "point_log_inst_id\tvalue\n--- ---\n1\t2\n", {"skiprows": (1,)}),
        (APP_TYPE, 'app_type_id,name\n1,"a\\"b, c"\n', {"escapechar": "\\"}),
        (APP_TYPE, "app_type_id,name\n1,'a, b'\n", {"quotechar": "'"}),
    ],
)
def test_lines_are_proposed_for_what_is_no_row_or_quoted_otherwise(
    tmp_path: Path, source: Source, content: str, lines: dict[str, Any]
) -> None:
    message = failure(tmp_path, content, source, max_rejected=0)

    (option, value), *_ = lines.items()
    line = "[1]" if isinstance(value, tuple) else str(value).replace("\\", "\\\\")
    assert f"\n[{source.name}]\n{option} = {line}\n" in f"{advice(message)}\n"
    staged = stage(tmp_path, content, source, **lines)
    before = stage(tmp_path, content, source).audit
    assert staged.audit.staged >= before.staged
    kinds = {kind for kind in staged.audit.quarantined if "fields" in kind or "quote" in kind}
    assert kinds == set()
    assert staged.audit.rejected == sum(line in content for line in ("x,b", "2,(5)"))


def test_a_row_without_the_empty_field_that_others_end_in_is_told_as_such(tmp_path: Path) -> None:
    rows = "".join(f"{n},a,\n" for n in range(9000))

    staged = stage(tmp_path, f"app_type_id,name\n{rows}9001,b\n9002,c,d\n9003,e,\n")

    assert staged.reasons == [
        (9002, "too few fields: 2 instead of 3"),
        (9003, "too many fields: 3 instead of 2"),
    ]
