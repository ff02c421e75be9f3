"""Web map."""
