"""What the codes mean that a Windows administrator meets; the door is ``lookup``."""

from bits_server.operations.explanations.codes import Code, NotACode, decoded, read_code
from bits_server.operations.explanations.lookup import Explanation, lookup, name_of
from bits_server.operations.explanations.model import Meaning, Speaker, reaction_to

__all__ = [
    "Code",
    "Explanation",
    "Meaning",
    "NotACode",
    "Speaker",
    "decoded",
    "lookup",
    "name_of",
    "reaction_to",
    "read_code",
]
