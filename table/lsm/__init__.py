"""One bucket as an LSM tree.

- a *run* (sorted run): files whose key ranges ascend and never touch; each level-0 file is one,
  each higher level is one;
- a *section*: files whose key ranges overlap, directly or in a chain;
- a *pick*: how many runs, from the newest on, to merge into which level: a value, no promise;
- a *rewrite* merges sections into new files; an *upgrade* moves a file to another level by
  metadata alone.
"""
