"""Chips and rasters."""
