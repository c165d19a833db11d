"""From CSV text to numbers, states and times."""
