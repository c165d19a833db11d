"""Load the facts, partition by partition where need be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from config.added import added_columns
from config.aggregates import AGGREGATES
from config.views import VIEWS
from config.warehouse import DIMENSIONS, FACT_LOGS
from tasks.core.partition import Partition
from tasks.engines.choose import engine
from tasks.freshness.snapshot import differences, digest_of
from tasks.freshness.targets import Digested
from tasks.freshness.task import FreshTask
from tasks.graph.enrich import EnrichedLogs, LogInstanceChains
from tasks.graph.files import enriched, log_partitions
from tasks.graph.lake import (
    LakeDays,
    derived_from_lake,
    facts_are_in_lake,
    lake_reads,
    rules,
    stored_partitions,
)
from tasks.graph.load import LoadDimension, LoadTask, warehouse
from tasks.run.settings import settings
from tasks.state import Receipt

if TYPE_CHECKING:
    from tasks.warehouse.interface import Copy
    from tasks.warehouse.load import Enriched


class LoadFactLogs(LoadTask):
    """The facts: only those of partitions whose enriched records changed are loaded."""

    @property
    def table_name(self) -> str:
        """The fact table."""
        return FACT_LOGS.name

    def requires(self) -> list[FreshTask]:
        """The enriched records, and all dimensions, whose members the facts refer to."""
        facts = LakeDays() if facts_are_in_lake() else EnrichedLogs()
        return [facts, *(LoadDimension(table=name) for name in DIMENSIONS)]

    def declarations(self) -> Mapping[str, object]:
        """What is derived from the facts, too."""
        declared = {
            **super().declarations(),
            "views": list(VIEWS.values()),
            "derived": [[*AGGREGATES.values()], rules()],
        }
        return {**declared, "lake": settings().lake_url} if facts_are_in_lake() else declared

    def reads(self) -> Mapping[str, Digested]:
        """The enriched records, file by file, and the intervals of log instances; or the lake."""
        if facts_are_in_lake():
            return lake_reads()
        records = {partition.name: enriched(partition.name) for partition in log_partitions()}
        return {**records, **LogInstanceChains().output()}

    def load(self, receipt: Receipt) -> str:
        """Load the partitions that changed."""
        from tasks.warehouse.load import Course, Enriched, replace_partitions
        from tasks.warehouse.log_days import Derivation

        code, declared = receipt.code, receipt.declarations[self.table_name]
        chains = [receipt.inputs[name] for name in LogInstanceChains().output()]
        derived_from = digest_of([code, receipt.declarations["derived"], chains])
        if facts_are_in_lake():
            return self._load_from_lake(receipt, derived_from)
        partitions = {
            one: Enriched(
                digest_of([code, declared, receipt.inputs[one.name]]), enriched(one.name).file
            )
            for one in log_partitions()
        }
        loaded, rows = list[str](), 0
        for some, stored in self._transactions(partitions, receipt):
            with self._copying() as copy:
                names, rows = replace_partitions(
                    warehouse(),
                    some,
                    Derivation(rules(), derived_from),
                    stored,
                    Course(lambda: self.check_inputs(receipt.inputs), self.progress, copy),
                )
            loaded += names
        return f"{rows:,} rows from {len(loaded):,} of {len(partitions):,} files"

    def _copying(self) -> AbstractContextManager[Copy | None]:
        """How executors load facts; None if they do not."""
        if not engine().is_remote:
            return nullcontext()
        call = partial(engine().call, out={}, advance=self.progress.advance)
        return warehouse().copying(call, lambda: engine().at_once)

    def _load_from_lake(self, receipt: Receipt, derived_from: str) -> str:
        """Load what is derived from the facts in the lake."""
        from tasks.warehouse.lake import replace_derived

        lake = receipt.declarations["lake"]
        digests = {
            one.name: digest_of([receipt.code, lake, receipt.inputs[one.name]])
            for one in log_partitions()
        }
        facts = replace_derived(
            warehouse(),
            stored_partitions(digests),
            derived_from_lake(derived_from),
            receipt.to_json(),
            before_commit=lambda: self.check_inputs(receipt.inputs),
            progress=self.progress,
        )
        return f"days and gaps of {facts:,} facts in the lake"

    def _transactions(
        self, partitions: Mapping[Partition, Enriched], receipt: Receipt
    ) -> Iterator[tuple[Mapping[Partition, Enriched], str]]:
        """The partitions, and the receipt of the table, of each transaction.

        All at once; but a column that was added to the live table is filled partition by partition:
        the others are as they were loaded meanwhile, and the receipt is the one before.
        """
        receipts = warehouse().receipts()
        stored = {
            name: one.receipt for (table, name), one in receipts.items() if table == FACT_LOGS.name
        }
        before = Receipt.from_json(stored.get("", ""))
        changed = before and [*differences(before.declarations, receipt.declarations)]
        if added_columns(FACT_LOGS.name) and changed == [f"{FACT_LOGS.name} changed"]:
            some = {
                one: found._replace(digest=stored[one.name])
                for one, found in partitions.items()
                if one.name in stored
            }
            for one, found in partitions.items():
                if stored.get(one.name) != found.digest:
                    some[one] = found
                    yield some, stored[""]
        yield partitions, receipt.to_json()
