"""What is done to tags: made, replaced, renamed, deleted, expired, made automatically."""
