"""The handbook's IAM policies, for a bucket of the tests."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

__all__ = ["Policy", "actions_of", "documented", "policy_for", "without"]

DOCUMENTS = Path(__file__).parents[2] / "docs" / "operations.md"

Policy = dict[str, Any]


def documented() -> list[Policy]:
    """The policies of the handbook: that of everything, and that of reading."""
    return [
        json.loads(block)
        for block in re.findall(r"```json\n(.*?)```", DOCUMENTS.read_text(), re.DOTALL)
        if "s3:GetObject" in block
    ]


def policy_for(policy: Policy, bucket: str) -> Policy:
    """The policy for this bucket, as the gateway wants it: see the handbook."""
    made: Policy = json.loads(json.dumps(policy).replace("my-bucket", bucket))
    for statement in made["Statement"]:
        if "s3:DeleteObject" in statement["Action"]:
            statement["Resource"] = [statement["Resource"], f"arn:aws:s3:::{bucket}"]
    return made


def without(policy: Policy, action: str) -> Policy:
    """The policy less one action."""
    less = copy.deepcopy(policy)
    for statement in less["Statement"]:
        statement["Action"] = [a for a in statement["Action"] if a != action]
    less["Statement"] = [s for s in less["Statement"] if s["Action"]]
    return less


def actions_of(policy: Policy) -> list[str]:
    """All that it allows."""
    return [action for statement in policy["Statement"] for action in statement["Action"]]
