"""The embedded landscape."""
