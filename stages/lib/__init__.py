"""Shared library: one concept a file, imported by stages and never importing one."""
