"""Every tiny select-then-read model that there is, as parameters of tests."""

from __future__ import annotations

import pytest

from tests.support.tiny_select_models import BACKBONES, KINDS


@pytest.fixture(params=BACKBONES)
def each_backbone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=KINDS)
def each_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
