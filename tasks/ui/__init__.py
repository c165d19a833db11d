"""`make ui`: the central scheduler with the reports."""
