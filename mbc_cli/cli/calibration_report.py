"""One line about a calibration, for every command that shows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbc_cli.model.calibration import Calibration


def describe_calibration(calibration: Calibration) -> str:
    """What a user wants to know of ``calibration``."""
    return (
        f"false answers {calibration.false_answer_rate:.1%}, false abstentions "
        f"{calibration.false_abstention_rate:.1%} on {calibration.held_out_questions:,} held-out questions "
        f"about {calibration.held_out_passages:,} passages; memory is read from relevance "
        f"{calibration.threshold:g} on"
        + (
            ""
            if calibration.answers is None
            else f"; confidence in answers is off by {calibration.answers.expected_calibration_error:.1%} "
            f"on {calibration.answers.held_out_questions:,}"
        )
        + ("" if calibration.fallback else ", and the LLM answers nothing else")
    )
