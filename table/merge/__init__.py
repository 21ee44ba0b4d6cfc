"""What becomes of several records of one key: merge engines as functions from frame to frame.

- the *feed*: all records of a key range, ordered by key and then oldest first;
- an *engine* makes one record of each key's records, as the table's options say;
- the *fold* is the meaning of every engine: the records of a key are numbered in feed order, and
  round *i* applies the engine's step, written once as expressions, to the keys that have an *i*-th
  record;
- a *closed form* is a faster way to the same result (the last row, the last value that is not
  null, a sum), for keys without retracts; property tests hold each equal to the fold.

Rows are never touched one by one. Spec: maintenance §4.
"""
