from __future__ import annotations

from pathlib import Path

import pytest

from infra.aws.app import synthesize
from infra.aws.stages import STAGES
from infra.aws.tests.templates import Templates


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, synthesized once; cdk-nag has passed them, or this fails."""
    folder = tmp_path_factory.mktemp("cdk")
    synthesize(str(folder))
    return folder


@pytest.fixture(params=list(STAGES))
def templates(request: pytest.FixtureRequest, assembly: Path) -> Templates:
    return Templates.read(assembly, STAGES[request.param])
