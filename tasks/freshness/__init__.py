"""Tasks that know whether their inputs changed."""
