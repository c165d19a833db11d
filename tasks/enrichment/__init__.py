"""Log records with their units, application instances and types."""
