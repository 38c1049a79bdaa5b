"""Whether an environment may be trained in: checks that any suite goes through, and what they found."""

from journeyman.environments.admission.admit import check_suite
from journeyman.environments.admission.report import Admission, Finding, PlayerScore
from journeyman.environments.admission.stored import fingerprint, keep, standing_of

__all__ = ["Admission", "Finding", "PlayerScore", "check_suite", "fingerprint", "keep", "standing_of"]
