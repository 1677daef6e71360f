"""Runs that follow messages beyond the door: load and delivery together."""
