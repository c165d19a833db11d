"""Made-up source files with the traits of real ones, the same for the same seed.

Traits: blank, padded and repeated names; a key 0; exports cut at a million rows, so that parents
are missing; sentinels in place of values; gaps; a few rows that cannot be read. Temperatures
follow the day, digital points switch. The files refer to the keys of files that exist already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.sources import SOURCES
from tasks.core.files import temporary_path
from tasks.core.progress import Advance, no_progress
from tasks.sources.files import source_path
from tasks.sources.inspection import inspect_file
from tasks.staging.batch import read_batch

ROWS: Mapping[str, int] = {
    "APP_TYPE": 19_040,
    "APP_TYPE_REF": 919,
    "LOG_INSTANCE": 935,
    "APP_INSTANCE": 1_000_000,
    "POINT": 1_000_000,
    "LOG_RCD_B": 843_971,
    "LOG_RCD_F": 1_000_000,
}
"""Rows at scale 1."""

HEADERS: Mapping[str, str] = {
    "APP_TYPE": "app_type_id,name",
    "APP_TYPE_REF": "app_type_ref_id,app_type_id,unit_id",
    "LOG_INSTANCE": "point_log_inst_id,point_id,eng_unit_id,log_interval",
    "APP_INSTANCE": "app_instance_id,app_type_ref_id,app_instance_name",
    "POINT": "point_id,app_instance_id,point_name,point_type,point_description,io_address,"
    "eng_unit_id,low_limit,high_limit,default_value,is_writable,is_alarmed,alarm_priority,"
    "display_order,created_on",
    "LOG_RCD_B": "log_rcd_id,point_log_inst_id,log_time,log_value,status",
    "LOG_RCD_F": "log_rcd_id,point_log_inst_id,log_time,log_value,status",
}

_AT_ONCE = 1_000_000
"""Rows that are written together."""

_START = np.datetime64("2024-06-01T00:00:00", "s")
_DAY_SECONDS = 86_400
_EQUIPMENT = (
    "Walk-in Cooler,Walk-in Freezer,Dairy Case,Frozen Food Case,Produce Case,Suction Group,"
    "Condenser Fan,Air Handler,Rooftop Unit,Dehumidifier,Anti-Sweat Heater,Lighting Schedule,"
    "Leak Detector,Heat Reclaim"
).split(",")
_SUFFIXES = ("", " A", " B", " Standard", " Override", " Two Stage", " Digital", " Backup")
_SENTINELS = ("NO DATA", "POINT FAIL", "ERROR")


def row_count(name: str, scale: float) -> int:
    """How many rows the file of a source has at a scale; 1 gives ROWS."""
    return max(1, round(ROWS[name] * scale))


def write_sample(
    data_dir: Path,
    names: Iterable[str],
    scale: float = 1.0,
    seed: int = 1,
    *,
    irregular: bool = False,
    advance: Advance = no_progress,
) -> dict[Path, int]:
    """Write the files of the named sources and return how many rows each has.

    Args:
        data_dir: Folder of the source files; those of other sources are read for their keys.
        names: Sources without a file.
        scale: 1 gives the row counts of ROWS.
        seed: Of the random numbers.
        irregular: Log records that hardly compress: random times, values and log instances.
        advance: Called after each file with its rows, twice: the progress, and the rows.

    Raises:
        FileExistsError: A file appeared meanwhile. It is left as it is.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    sample = _Sample(data_dir, set(names), scale, seed, irregular)
    made = {}
    for name in ROWS:  # Parents first.
        if name in sample.names:
            rows = made[data_dir / f"{name}.csv"] = sample.write(name)
            advance(rows, rows)
    return made


class _Sample:
    def __init__(
        self, data_dir: Path, names: set[str], scale: float, seed: int, irregular: bool = False
    ):
        self.data_dir = data_dir
        self.names = names
        self.scale = scale
        self.seed = seed
        self.irregular = irregular
        self.keys: dict[tuple[str, str], np.ndarray] = {}
        self.random = np.random.default_rng(seed)

    def write(self, name: str) -> int:
        # Each file has random numbers of its own, so that it does not depend on the others made.
        self.random = np.random.default_rng([self.seed, list(ROWS).index(name)])
        rows = row_count(name, self.scale)
        columns = getattr(self, f"_{name.lower()}")(rows)
        is_spoiled = name in ("APP_INSTANCE", "POINT", "LOG_RCD_B", "LOG_RCD_F")
        spoiled = self._spoiled(name, columns) if is_spoiled else {}
        target = self.data_dir / f"{name}.csv"
        temporary = temporary_path(target)
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(f"{HEADERS[name]}\n")
            for first in range(0, rows, _AT_ONCE):  # An array of text ends at 2 GiB.
                some = [column.slice(first, _AT_ONCE) for column in columns]
                lines = pc.binary_join_element_wise(*some, ",").to_pylist()
                for row, line in enumerate(lines, first):
                    stream.write(f"{spoiled.get(row, line)}\n")
        if target.exists():
            temporary.unlink()
            raise FileExistsError(f"{target} appeared meanwhile; it was left as it is")
        temporary.replace(target)
        return rows

    def known(self, name: str, column: str) -> np.ndarray:
        """The keys in a source file, made up or not."""
        if (name, column) not in self.keys:
            self.keys[name, column] = _read_keys(source_path(name, self.data_dir), name, column)
        return self.keys[name, column]

    def _spoiled(self, name: str, columns: Sequence[pa.Array]) -> dict[int, str]:
        """Row -> what is written in its place: one row in 20,000, which cannot be read."""
        lines: dict[int, str] = {}
        rows = len(columns[0])
        bad = self.random.choice(rows, size=rows // 20_000, replace=False)
        for turn, row in enumerate(bad.tolist()):
            fields = [column[row].as_py() for column in columns]
            match turn % 3:
                case 0:
                    fields = fields[:2]
                case 1:
                    fields[1] = "#REF!"
                case 2 if name.startswith("LOG_RCD"):
                    fields[2] = "0000-00-00 00:00:00"
                case 2 if row:
                    fields[0] = columns[0][row - 1].as_py()
            lines[row] = ",".join(fields)
        return lines

    # --- the sources

    def _app_type(self, rows: int) -> list[pa.Array]:
        names = [
            f"{equipment}{suffix} {number}"
            for number in range(1, 6)
            for equipment in _EQUIPMENT
            for suffix in _SUFFIXES
        ][:549]
        picked = self.random.integers(0, len(names), rows)
        texts = [names[i] for i in picked.tolist()]
        for row in self.random.choice(rows, size=min(rows // 4, 76), replace=False).tolist():
            texts[row] = ""
        for row in range(min(rows, 4)):
            texts[row] = f" {names[0]}"
        return [_text(np.arange(1, rows + 1)), pa.array(texts)]

    def _app_type_ref(self, rows: int) -> list[pa.Array]:
        known = self.known("APP_TYPE", "app_type_id")
        ids = 417_000 + np.arange(rows) * 3
        ids[0] = 0
        types = self.random.choice(known, rows, replace=len(known) < rows)
        units = np.resize(self.random.permutation(np.arange(1, 101)), rows)
        return [_text(ids), _text(types), _text(units)]

    def _log_instance(self, rows: int) -> list[pa.Array]:
        made = "POINT" in self.names
        known = self._point_range() if made else self.known("POINT", "point_id")
        points = self.random.choice(known, rows, replace=not made and len(known) < rows)
        units = self.random.choice([2, 74, 94, 26, 14], rows, p=[0.8, 0.17, 0.01, 0.01, 0.01])
        intervals = self.random.choice([180, 60, 5400], rows, p=[0.91, 0.08, 0.01])
        return [_text(1_000_001 + np.arange(rows)), _text(points), _text(units), _text(intervals)]

    def _app_instance(self, rows: int) -> list[pa.Array]:
        refs = self._parents("APP_TYPE_REF", "app_type_ref_id", rows, orphans=0.01)
        # As if the export had been cut: every tenth instance is not in it.
        ids = _text(np.arange(rows) + np.arange(rows) // 9)
        return [ids, _text(refs), _join("Application ", ids)]

    def _parents(self, name: str, key: str, rows: int, *, orphans: float) -> np.ndarray:
        """Keys of a source, one for each row; a share of them does not exist."""
        known = self.known(name, key)
        picked = self.random.choice(known, size=rows)
        return np.where(self.random.random(rows) < orphans, known.max() + 1 + picked, picked)

    def _point_range(self) -> np.ndarray:
        return np.arange(1, max(2, round(ROWS["POINT"] * self.scale)) * 11 // 10 + 2)

    def _point(self, rows: int) -> list[pa.Array]:
        logged = np.unique(self.known("LOG_INSTANCE", "point_id"))
        others = np.setdiff1d(self._point_range(), logged)
        # The cut of the export removes a few logged points.
        logged = logged[self.random.random(len(logged)) >= 0.02][:rows]
        others = self.random.permutation(others)[: rows - len(logged)]
        ids = np.sort(np.concatenate([logged, others]))
        ids = np.append(ids, np.arange(rows - len(ids)) + ids.max(initial=0) + 1)
        instances = self._parents("APP_INSTANCE", "app_instance_id", rows, orphans=0.02)
        kinds = self.random.integers(0, 4, rows)
        notes = ("", "NA", " see plan", '"the ""old"" one"', "-")
        return [
            _text(ids),
            _text(instances),
            _pick(kinds, ('"Supply Air, Temp"', "Case Temp", "Fan Run", "Defrost")),
            _pick(kinds, ("AI", "AI", "DI", "DO")),
            _pick(self.random.integers(0, 5, rows), notes),
            _join("0", _text(ids % 256), ".00", _text(ids % 16)),
            _pick(kinds, ("2", "2", "74", "74")),
            _pick(kinds, ("-40.0", "-30.0", "0", "0")),
            _pick(kinds, ("120.0", "30.0", "1", "1")),
            _pick(kinds, ("4.5", "-18", "0", "")),
            _pick(kinds, ("N", "N", "N", "Y")),
            _pick(self.random.integers(0, 2, rows), ("N", "Y")),
            _text(self.random.integers(1, 100, rows)),
            _text(np.arange(rows) % 40),
            _moments(_START - (ids % 900) * np.timedelta64(_DAY_SECONDS, "s")),
        ]

    def _log_rcd_b(self, rows: int) -> list[pa.Array]:
        instances, moments = self._schedule(rows, digital=True)
        if self.irregular:
            return self._records(instances, moments, _text(self.random.integers(0, 2, rows)))
        seconds = (moments - _START).astype(np.int64)
        # Each point switches with a rhythm of its own, of half an hour to some hours.
        rhythm = 1800 + (instances % 13) * 900
        states = (seconds // rhythm + instances) % 2
        values = _with_sentinels(_pick(states, ("0", "1")), self.random)
        return self._records(instances, moments, values)

    def _log_rcd_f(self, rows: int) -> list[pa.Array]:
        instances, moments = self._schedule(rows, digital=False)
        if self.irregular:
            return self._records(instances, moments, _text(self.random.normal(20, 10, rows)))
        seconds = (moments - _START).astype(np.int64)
        level = np.array([-22.0, -18.0, 2.0, 4.0, 21.0])[instances % 5]
        # Warmest in the afternoon.
        day = np.sin((seconds / _DAY_SECONDS - 0.4) * 2 * np.pi)
        temperatures = level + 1.5 * day + self.random.normal(0, 0.3, rows)
        hundredths = np.round(temperatures * 100).astype(np.int64)
        signs = _pick((hundredths < 0).astype(np.int64), ("", "-"))
        whole, cents = np.divmod(np.abs(hundredths), 100)
        values = _join(signs, _text(whole), ".", pc.utf8_lpad(_text(cents), 2, padding="0"))
        return self._records(instances, moments, _with_sentinels(values, self.random))

    def _schedule(self, rows: int, *, digital: bool) -> tuple[np.ndarray, np.ndarray]:
        """Which log instance records when: at its interval, with gaps, in order of time."""
        logs = np.unique(self.known("LOG_INSTANCE", "point_log_inst_id"))
        recording = logs[(logs % 9 < 4) == digital]
        recording = recording if len(recording) else logs
        if self.irregular:
            last_ms = 180_000 * (1 + rows // len(recording))
            after_ms = np.sort(self.random.integers(0, last_ms, rows))
            return self.random.choice(recording, rows), _START + after_ms.astype("timedelta64[ms]")
        turns, which = np.divmod(np.arange(rows), len(recording))
        instances = recording[which]
        # One instance in twenty began a day before the others and was off for that day after its
        # hundredth record.
        early = ((instances % 20 == 0) & (turns <= 100)) * _DAY_SECONDS
        moments = _START + (turns * 180 - early + instances % 60).astype("timedelta64[s]")
        order = np.argsort(moments, kind="stable")
        instances, moments = instances[order], moments[order]
        orphans = self.random.random(rows) < 0.002
        return np.where(orphans, logs.max() + 1 + instances % 7, instances), moments

    def _records(
        self, instances: np.ndarray, moments: np.ndarray, values: pa.Array
    ) -> list[pa.Array]:
        rows = len(instances)
        return [
            _text(np.arange(1, rows + 1)),
            _text(instances),
            _moments(moments),
            values,
            _pick(self.random.choice(3, size=rows, p=[0.97, 0.02, 0.01]), ("OK", "ALARM", "")),
        ]


def _read_keys(path: Path, name: str, column: str) -> np.ndarray:
    file = inspect_file(path, SOURCES[name])
    batches = file.read(lambda block: read_batch(block, file.source, file.layout))
    chunks = [batch.table[column].drop_null() for _, batch in batches]
    return np.concatenate([chunk.to_numpy() for chunk in chunks])


def _text(numbers: np.ndarray) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _join(*texts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*texts, "")


def _pick(choice: np.ndarray, texts: Sequence[str]) -> pa.Array:
    return pa.array(texts).take(pa.array(choice))


def _moments(moments: np.ndarray) -> pa.Array:
    return pa.array(moments).cast(pa.string())


def _with_sentinels(values: pa.Array, random: np.random.Generator) -> pa.Array:
    """Values, three in a thousand of them replaced by a sentinel."""
    sentinels = _pick(random.integers(0, len(_SENTINELS), len(values)), _SENTINELS)
    return pc.if_else(pa.array(random.random(len(values)) < 0.003), sentinels, values)
