"""MariaDB as the warehouse. All that is particular to MariaDB is here."""
