"""The source files: where they are, their dialects, headers and records."""
