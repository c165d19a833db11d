"""The values of a file: none is silently another; sentinels and states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.declarations import Source
from config.sources import LOG_RCD_B, LOG_RCD_F
from tests.staged import failure, stage


def record_rows(cells: list[str]) -> str:
    """A file of float or digital records with these values, quoted as they need it."""
    quoted = (f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells)
    return "point_log_inst_id,value\n" + "".join(f"{n},{q}\n" for n, q in enumerate(quoted))


def check_values(
    folder: Path, cells: dict[str, float | str | None], source: Source = LOG_RCD_F, **how: Any
) -> None:
    """Each cell is a number, a word in place of one, or rejected for the reason ("!...").

    In a small file, and at every border of blocks of a larger one.
    """
    wanted = list(cells.values())
    expected: dict[str, list[Any]] = {
        "point_log_inst_id": [n for n, v in enumerate(wanted) if not str(v).startswith("!")],
        "value": [v if isinstance(v, float) else None for v in wanted if str(v)[:1] != "!"],
        "value_text": [v if isinstance(v, str) else None for v in wanted if str(v)[:1] != "!"],
    }
    expected["recorded_at"] = expected["status"] = [None] * len(expected["value"])
    declared = source.column("value").type
    reasons = [
        (n + 2, f"value is not a {declared}: {cell!r}" + f" (it has {v[1:]})" * (v != "!"))
        for n, (cell, v) in enumerate(cells.items())
        if isinstance(v, str) and v.startswith("!")
    ]
    for block_bytes in (None, 40, 57, 71):
        staged = stage(folder, record_rows(list(cells)), source, block_bytes=block_bytes, **how)
        assert staged.columns == expected
        assert staged.reasons == reasons
        assert staged.audit.values == len([v for v in wanted if v is not None])


def test_a_text_with_a_digit_is_a_number_or_invalid_with_the_reason_never_a_word(
    tmp_path: Path,
) -> None:
    check_values(
        tmp_path,
        {
            "4.5": 4.5,
            "\u22124.5": -4.5,
            "\u20134.5": -4.5,
            "\uff0d1e\u22122": -0.01,
            '="4.5"': 4.5,
            '=" -4.5 "': -4.5,
            "\u00a04.5\u202f": 4.5,
            "+4.5": 4.5,
            "": None,
            " \u00a0": None,
            "NULL": None,
            "\\N": None,
            "null": "null",
            "NO DATA": "NO DATA",
            "\u2014": "\u2014",
            "#N/A": "#N/A",
            "nan": "nan",
            "-inf": "-inf",
            "(5.0)": "!parentheses",
            "- 3": "!a blank after the sign",
            "\u2212 3": "!a blank after the sign",
            "<0.5": "!a comparison sign",
            "\u22650.5": "!a comparison sign",
            "$5": "!a currency or percent sign",
            "5 %": "!a currency or percent sign",
            "4,5": "!a comma",
            "1,234.5": "!a comma",
            "1 234": "!a blank between digits",
            "1'234": "!a mark of thousands",
            "1.234.5": "!a mark of thousands",
            "E17": "!letters",
            "FAULT 3": "!letters",
            "4.5 C": "!letters",
            "0x1F": "!letters",
            "1..2": "!",
            "1e999": "!letters",
            "\u0664": "!",
        },
    )


@pytest.mark.parametrize(
    ("how", "cells"),
    [
        (
            {"decimal": ","},
            {"4,5": 4.5, "-,5": -0.5, "5": 5.0, "1e3": 1000.0, "4.5": "!", "1.234,5": "!a comma"},
        ),
        (
            {"decimal": ",", "thousands": "."},
            {
                "1.234,5": 1234.5,
                "-1.234.567": -1234567.0,
                "1234,5": 1234.5,
                "4.5": "!",
                "1.2345": "!",
                "12345.678": "!a mark of thousands",
                "1.23.456": "!a mark of thousands",
                ".123": "!",
                "0,123.456": "!a comma",
            },
        ),
        (
            {"thousands": ","},
            {"1,234.5": 1234.5, "12,345": 12345.0, "4,5": "!a comma", "1,2345": "!a comma"},
        ),
        (
            {"thousands": " ", "decimal": ","},
            {
                "1 234,5": 1234.5,
                "1\u00a0234": 1234.0,
                "\u22121\u202f234\u202f567,5": -1234567.5,
                "1 23": "!a blank between digits",
                "1  234": "!",
            },
        ),
        ({"thousands": "'"}, {"1'234.5": 1234.5, "1'23": "!"}),
        (
            {"sentinels": ("E17", "fault 3", "-9999", "(5.0)")},
            {
                "E17": "E17",
                "e17": "e17",
                " FAULT 3 ": "FAULT 3",
                "-9999": "-9999",
                "(5.0)": "(5.0)",
                "9999": 9999.0,
                "E18": "!letters",
            },
        ),
        (
            {"na_values": ("#N/A", "-9999", "n/a", "1e3")},
            {"#N/A": None, " -9999 ": None, "n/a": None, "1e3": None, "1000": 1000.0, "": None},
        ),
        ({"na_values": ("#N/A",)}, {"NULL": "NULL", "\\N": "\\N", "#N/A": None}),
    ],
)
def test_a_setting_reads_exactly_its_notation(
    tmp_path: Path, how: dict[str, Any], cells: dict[str, float | str | None]
) -> None:
    check_values(tmp_path, cells, **how)


def test_sentinels_above_the_accepted_share_are_warned_about(tmp_path: Path) -> None:
    content = record_rows(["4.5"] * 95 + ["NO DATA"] * 4 + ["OFFLINE"])

    assert stage(tmp_path, content, LOG_RCD_F).audit.warnings == []
    assert stage(tmp_path, content, LOG_RCD_F, max_sentinels=0.049).audit.warnings == [
        "5 of 100 values are sentinels in place of a number (5.0%, max_sentinels is 4.9%): "
        "NO DATA (4), OFFLINE (1)"
    ]


def test_a_column_of_unknown_words_alone_fails_with_settings_that_read_it(tmp_path: Path) -> None:
    content = record_rows(["EIN", "AUS"] * 9 + ["NO DATA", ""] * 2)

    message = failure(tmp_path, content, LOG_RCD_F)
    switches = failure(tmp_path, content.replace("NO DATA", "EIN"), LOG_RCD_B)

    assert message == (
        "LOG_RCD_F.csv: value (value) has no number in 20 rows, only words: "
        "'AUS' (9), 'EIN' (9), 'NO DATA' (2).\n"
        "Paste what they are into luigi.cfg, section [LOG_RCD_F], in place of lines of the same "
        "name:\n"
        "[LOG_RCD_F]\nsentinels =\n    AUS\n    EIN\n    NO DATA"
    )
    assert switches.endswith(
        "[LOG_RCD_B]\ntrue_values = EIN\nfalse_values = AUS\n"
        "# or, if that is meant, instead:\n# true_values = AUS\n# false_values = EIN\n"
        "# or, if that is meant, instead:\n# sentinels =\n#     EIN\n#     AUS"
    )
    words = ("AUS", "EIN")
    assert stage(tmp_path, content, LOG_RCD_F, sentinels=words).audit.word_rows == 20
    states = stage(tmp_path, content, LOG_RCD_B, true_values=("ein",), false_values=("AUS",))
    assert states.columns["value"][:4] == [1.0, 0.0, 1.0, 0.0]
    assert states.audit.states == {"EIN": (1.0, 9), "AUS": (0.0, 9)}


@pytest.mark.parametrize(
    ("cells", "warning"),
    [
        (["EIN"] * 19, "none of the 19 values is a number: EIN (19)"),
        (["NO DATA"] * 20, "20 of 20 values are sentinels in place of a number (100.0%"),
        (["no_data", "Point  Fail"] * 10, "20 of 20 values are sentinels"),
        (["EIN"] * 20 + ["4.5"], "20 of 21 values are sentinels"),
    ],
)
def test_few_or_known_words_or_a_number_among_them_only_warn(
    tmp_path: Path, cells: list[str], warning: str
) -> None:
    (found,) = stage(tmp_path, record_rows(cells), LOG_RCD_F).audit.warnings

    assert found.startswith(warning)


def test_words_of_a_source_add_to_the_usual_states_and_win_over_them(tmp_path: Path) -> None:
    cells = ["open", "CLOSED", "Ein", "17", "0", "2", "NO DATA", "aus", "", "on"]
    how: dict[str, Any] = {"true_values": ("ein", "closed"), "false_values": ("open", "17", "aus")}

    staged = stage(tmp_path, record_rows(cells), LOG_RCD_B, block_bytes=64, **how)

    assert staged.columns["value"] == [0.0, 1.0, 1.0, 0.0, 0.0, 2.0, None, 0.0, None, 1.0]
    assert staged.audit.states == {
        "open": (0.0, 1),
        "CLOSED": (1.0, 1),
        "Ein": (1.0, 1),
        "17": (0.0, 1),
        "aus": (0.0, 1),
        "on": (1.0, 1),
    }
    assert staged.audit.words == {"NO DATA": 1}


@pytest.mark.parametrize("word", ["active", "on", "true", "alarm"])
def test_a_state_is_no_number(tmp_path: Path, word: str) -> None:
    check_values(tmp_path, {word: word, "4.5": 4.5})
    check_values(tmp_path, {"4.5": 4.5, "wahr": 1.0}, true_values=("Wahr",))
