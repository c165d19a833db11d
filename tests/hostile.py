"""Source files whose values are as bad as they can be, and still are data."""

from __future__ import annotations

import itertools

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
