"""Orphan files, in steps: what lies there, what is used, a plan, and its carrying out."""
