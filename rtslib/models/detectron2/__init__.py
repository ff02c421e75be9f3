"""Second engine."""
