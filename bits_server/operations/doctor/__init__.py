"""Uploads for real, through whatever stands in front, and says what is wrong."""

from bits_server.operations.doctor.conversation import ANSWER_SECONDS, Conversation, Target
from bits_server.operations.doctor.examination import Examination, Plan
from bits_server.operations.doctor.findings import Finding, Level

__all__ = ["ANSWER_SECONDS", "Conversation", "Examination", "Finding", "Level", "Plan", "Target"]
