"""Moved; described with the changes that follow."""
