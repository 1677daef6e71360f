"""Recipes that start real servers on loopback, and the way from a TARGET argument to a target."""
