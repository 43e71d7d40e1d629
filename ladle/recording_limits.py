"""How far a recording may be from ideal before it is complained about or refused; a section of the task file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ladle.config_values import STRICT, NotNegative

Share = Annotated[float, Field(ge=0, le=1)]

# What can be wrong with a stream; the words of `accept` in the task file.
Complaint = Literal["clock_offset", "clock_drift", "real_time_factor", "clock_jump", "gap", "rate", "drops",
                    "duplicates", "order", "receive_order", "stamps", "strays", "coverage"]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RecordingLimits:
    """Beyond `*_warn` a stream is complained about, beyond `*_refuse` its recording is not extracted.

    Attributes:
        offset: least time from header stamp to receipt that `transport_s` and `clock_offset_s` do not explain; for
            drift, its change over the whole recording.
        real_time_factor: how far a simulation's seconds per second of the recorder may be from 1.
        jump: step of the header clock against the receive clock; for a simulation's clock, also how far it may be from
            an even rate.
        gap: longest time without a sample beyond the nominal period; for coverage, before the first or after the last.
        rate: share by which a stream is slower or faster than its nominal rate; a faster one is never refused.
        drops, duplicates, order, receive_order, unstamped, strays: shares of the samples. order counts header stamps
            older than one received before, receive_order receive stamps that run backwards in the file, strays single
            header stamps that do not go with those around them.
        accept: stream -> complaints that are not to stop the extraction.
    """

    offset_warn_s: NotNegative = 0.005
    offset_refuse_s: NotNegative = 0.020
    real_time_factor_warn: NotNegative = 0.01
    real_time_factor_refuse: NotNegative = 0.05
    jump_warn_s: NotNegative = 0.020
    jump_refuse_s: NotNegative = 0.100
    gap_warn_s: NotNegative = 0.050
    gap_refuse_s: NotNegative = 2.0
    rate_warn_share: Share = 0.1
    rate_refuse_share: Share = 0.9
    drops_warn_share: Share = 0.02
    drops_refuse_share: Share = 0.3
    duplicates_warn_share: Share = 0.01
    duplicates_refuse_share: Share = 0.3
    order_warn_share: Share = 0.02
    order_refuse_share: Share = 0.5
    receive_order_warn_share: Share = 0.001
    receive_order_refuse_share: Share = 0.1
    unstamped_warn_share: Share = 0.001
    unstamped_refuse_share: Share = 0.1
    strays_warn_share: Share = 0.001
    strays_refuse_share: Share = 0.05
    accept: Mapping[str, tuple[Complaint, ...]] = field(default_factory=dict[str, tuple[Complaint, ...]])

    @model_validator(mode="after")
    def _warns_before_it_refuses(self) -> RecordingLimits:
        for name, warn in vars(self).items():
            refuse = getattr(self, name.replace("_warn", "_refuse"))
            if "_warn" in name and warn > refuse:
                raise ValueError(f"{name} {warn} must not be more than {name.replace('_warn', '_refuse')} {refuse}")
        return self
