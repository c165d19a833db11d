"""What people read: summaries, quality, profiles, schema changes, the page."""
