"""Predicates as far as bounds can answer them: may a row within these bounds pass?

A predicate comes as a Polars expression. Its form is found by taking it apart and holding it
against what Polars makes of the parts (`parse`), so that nothing is ever guessed: an expression
that is not equal to a known form is `Unknown`, and may be true of anything. What is understood is a
tree of plain records (`tree`). Whether it can be true within bounds is asked of Polars itself
(`bounds`): a comparison with a literal is put to the lowest and the highest value, in the column's
own type, so that units, scales, time zones and supertypes mean what they mean to the rows.

Pure: nothing here reads anything, or knows where bounds come from.
"""
