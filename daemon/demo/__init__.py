"""A minute of desilt: a writer and the daemon side by side, tables of several kinds, and a proof.

Three processes that share nothing but the warehouse: the writer (`writer.py`), the daemon as it
would run for real, and this one (`run.py`), which watches (`watch.py`), follows what changes
(`replay.py`), and compares at the end with the writer's own log (`proof.py`).
"""
