"""Pure decisions: from the health frame to verdicts, from verdicts to what starts now.

No I/O, no clock, no thread, no global that changes. The words: *facts* are what a policy sees (one
row per bucket), a *verdict* is what it answers (action, score, reason), a *proposal* is a due
verdict with its cost, *admission* says which proposals start now.
"""

from .admit import (
    Admission,
    BucketKey,
    Budget,
    Deferral,
    PickLimits,
    Proposal,
    Standing,
    plan_admission,
    proposals_from,
)
from .amplification import AmplificationConfig, AmplificationPolicy
from .api import (
    HEALTH_SCHEMA,
    KEY_COLUMNS,
    PICK_COLUMNS,
    PICK_NUMBERS,
    VERDICT_SCHEMA,
    BucketFacts,
    Policy,
    RunFacts,
    Verdict,
    check_verdicts,
    judge_with,
    lift,
)
from .errors import PolicyConfigError, PolicyError
from .match import best_rule, check_pattern
from .registry import Registry, load_registry, policy_from_config
from .universal import UniversalConfig, UniversalPolicy

__all__ = [
    "HEALTH_SCHEMA",
    "KEY_COLUMNS",
    "PICK_COLUMNS",
    "PICK_NUMBERS",
    "VERDICT_SCHEMA",
    "Admission",
    "AmplificationConfig",
    "AmplificationPolicy",
    "BucketFacts",
    "BucketKey",
    "Budget",
    "Deferral",
    "PickLimits",
    "Policy",
    "PolicyConfigError",
    "PolicyError",
    "Proposal",
    "Registry",
    "RunFacts",
    "Standing",
    "UniversalConfig",
    "UniversalPolicy",
    "Verdict",
    "best_rule",
    "check_pattern",
    "check_verdicts",
    "judge_with",
    "lift",
    "load_registry",
    "plan_admission",
    "policy_from_config",
    "proposals_from",
]
