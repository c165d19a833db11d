"""Source files whose values are as bad as they can be, and still are data."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path

from tests.conftest import Project

SCRIPT = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
CLOSING = "</td></table></style></script><h1>out</h1>"
FORMULA = "=1+1"
LINK = "[mend](javascript:window.hacked=true) ![x](http://example.invalid/x.png)"
RIGHT_TO_LEFT = "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd"
EMOJI = "\U0001f9ca\u200d\U0001f525 Freezer"
LONG = "Very long name " * 400
UNBROKEN = "x" * 3000
TEMPLATE = "{{ 7 * 7 }}{% raw %}"
NAMES = (SCRIPT, CLOSING, FORMULA, LINK, RIGHT_TO_LEFT, EMOJI, LONG, UNBROKEN, TEMPLATE, "@SUM(1)")


def make_hostile(project: Project) -> None:
    """Put such values wherever a source file may hold text: names, words, status, headers."""

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    def write(name: str, *lines: str) -> None:
        (project.data / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    count = len(NAMES)
    write(
        "APP_TYPE.csv",
        f"app_type_id,name,{quoted(SCRIPT)},{quoted(FORMULA)}",
        *(f"{at},{quoted(name)},{quoted(name)},{quoted(name)}" for at, name in enumerate(NAMES)),
    )
    write(
        "APP_TYPE_REF.csv",
        "app_type_ref_id,app_type_id,unit_id",
        *(f"{at},{at},{at}" for at in range(count)),
        f"{quoted(SCRIPT)},1,1",
    )
    write(
        "APP_INSTANCE.csv", "app_instance_id,app_type_ref_id", *(f"{a},{a}" for a in range(count))
    )
    write("POINT.csv", "point_id,app_instance_id", *(f"{at},{at}" for at in range(count)))
    write(
        "LOG_INSTANCE.csv",
        "point_log_inst_id,point_id,eng_unit_id,log_interval",
        *(f"{at},{at},1,60" for at in range(count)),
    )
    for name in ("LOG_RCD_B.csv", "LOG_RCD_F.csv"):
        write(
            name,
            "point_log_inst_id,log_time,log_value,status",
            *(
                f"{at % count},2024-06-01 {at // 60:02}:{at % 60:02}:00,1,{quoted(name)}"
                for at, name in zip(range(200), itertools.cycle(NAMES), strict=False)
            ),
            f"1,2024-06-01 05:00:00,{quoted(SCRIPT)},{quoted(SCRIPT)}",
            f"1,{quoted(SCRIPT)},1,OK",
            quoted(CLOSING),
        )
    project.configure("[source defaults]\nmax_rejected = 1")


SETTINGS_OF_BROKEN_ROWS = ("[LOG_RCD_F]", "source_timezone = Europe/Berlin")


def add_broken_rows(data: Path) -> None:
    """Append rows that are broken in every way; log records around changes of the clock."""
    night = datetime(2024, 10, 27, 1, 30)
    # An hour that occurs twice, and instances that have records in one of the two only.
    minutes = [*range(0, 90, 20), *range(30, 150, 20)]
    local = [(7, night + timedelta(minutes=at)) for at in minutes]
    local += [(8, night + timedelta(minutes=at)) for at in minutes[:6]]
    rows = {
        "APP_TYPE": b"0,again,,\n0,again,,\nx,x,,\n,no key,,\n77\n88,,,\n89,a,b,c,d,e\n",
        "APP_TYPE_REF": b"20,1,x\n21,555,3\n22,2,\n1,1,1\n1,2,2\n",
        "APP_INSTANCE": b"30,21\n31,666\n3,3\n3,4\n32,1e\n33,\n",
        "POINT": b"40,30\n41,777\n42,31\n42,31\n43,0x1\n99999999999999999999,1\n",
        "LOG_INSTANCE": b"50,40,2,180\n51,888,2,180\n52,41,2 K,60\n53,42,,\n50,40,2,180\n",
        "LOG_RCD_B": b"50,2024-06-02 00:00:00,on,OK\n51,2024-06-02 00:01:00,OFF,\n1,,0,OK\n"
        b"999,2024-06-02 00:02:00,1,OK\n1,2024-06-02 00:03:00,2,OK\n"
        b"2,2024-06-02 00:04:00,NO DATA,OK\n2,2024-13-02 00:04:00,1,OK\n",
        "LOG_RCD_F": b'50,2024-06-02 00:00:00,12abc,OK\n1,2024-06-02 00:01:00,"4,5",OK\n'
        b"1,2024-06-02 00:02:00,(5.0),OK\n2,2024-06-02 00:03:00,4.5,\xff\xfe\n"
        b"2,2024-06-02 00:04:00,4\x005,OK\n2,2024-06-02 00:05:00,5,O\x00K\n"
        b'3,"2024-06-02 00:06:00"x,5,OK\n3,2024-06-02 00:07:00,5,"a ""b""\nc"\n'
        b"888,2024-06-02 00:08:00,5,OK\n,2024-06-02 00:09:00,5,OK\nx,2024-06-02,5,OK\n"
        b"4,2024-06-02 00:10:00,POINT FAIL,\n4,2024-06-02 00:11:00,NaN,\n4,1717200000,-1e400,\n"
        b"4,2024-03-31 02:30:00,1,OK\n4,2024-06-02T00:12:00+05:00,-0.0,OK\n4,1717200000000,1,\n"
        b"5,1970-01-01 00:00:00,1,OK\n6,2024-10-27 02:30:00,1,OK\n6,2024-06-02 00:13:00,1,OK,9\n"
        + b"".join(f"{one},{time},{time.minute},OK\n".encode() for one, time in local),
    }
    for name, more in rows.items():
        with (data / f"{name}.csv").open("ab") as stream:
            stream.write(more)
