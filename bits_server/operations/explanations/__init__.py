"""What the codes mean that a Windows administrator meets; the door is ``lookup``."""

from bits_server.operations.explanations.codes import Code, NotACode, decoded, read_code
from bits_server.operations.explanations.lookup import (
    Explanation,
    lookup,
    meaning_of_answer,
    name_of,
)
from bits_server.operations.explanations.model import Meaning, Speaker, reaction_to
from bits_server.operations.explanations.of_http import STATUSES

__all__ = [
    "STATUSES",
    "Code",
    "Explanation",
    "Meaning",
    "NotACode",
    "Speaker",
    "decoded",
    "lookup",
    "meaning_of_answer",
    "name_of",
    "reaction_to",
    "read_code",
]
