"""Delivered messages: the observers that read back what arrived."""
