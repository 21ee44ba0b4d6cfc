# fastavro's own types miss the members of a block.
from typing import Any

def __getattr__(name: str) -> Any: ...
