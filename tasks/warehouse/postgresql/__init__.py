"""PostgreSQL as the warehouse. All that is particular to PostgreSQL is here."""
