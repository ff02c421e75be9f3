"""Folders, models and maps that several tests make."""
