"""Aggregate functions, each as the two steps that Paimon's has: add a value, take one back.

A function sees two columns, the accumulator and the new value, and answers with an expression. It
works on many keys at once and knows nothing of keys, levels or files.

Spec: maintenance §4.5; reference package ``mergetree/compact/aggregate``.
"""
