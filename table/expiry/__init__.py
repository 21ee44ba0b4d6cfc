"""Expiry of snapshots, in steps: which go, what only they hold, a plan, and its carrying out."""
