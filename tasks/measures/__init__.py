"""What is measured of staged files."""
