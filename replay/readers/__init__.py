"""Readers of recorded traffic, one format a file."""
