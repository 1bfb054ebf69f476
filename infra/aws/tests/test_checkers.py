"""cfn-lint and cdk-nag find nothing; and find what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, Stack, aws_s3

from infra.aws import nag


def lint(*templates: Path) -> tuple[int, str]:
    program = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([program, "--", *templates], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_cfn_lint_finds_nothing(assembly: Path) -> None:
    templates = sorted(assembly.glob("*.template.json"))
    assert len(templates) == 6
    assert lint(*templates) == (0, "")


def test_cfn_lint_finds_a_fault(tmp_path: Path) -> None:
    faulty = tmp_path / "faulty.json"
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": "soon"}}
    faulty.write_text(json.dumps({"Resources": {"Queue": queue}}))
    status, found = lint(faulty)
    assert status != 0
    assert "'soon' is not of type 'integer'" in found


def test_cdk_nag_finds_a_fault(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    nag.check(app)
    aws_s3.Bucket(Stack(app, "Faulty"), "Open")
    # The error says what it found, or where the report of it is.
    with pytest.raises(RuntimeError, match="ValidationFailed") as caught:
        app.synth()
    reports = [path.read_text() for path in tmp_path.glob("validation-report.json")]
    assert "AwsSolutions-S1" in "".join([str(caught.value), *reports])


def test_nothing_is_accepted_without_a_reason() -> None:
    bucket = aws_s3.Bucket(Stack(), "Bucket")
    made = bucket.node.default_child
    assert isinstance(made, aws_s3.CfnBucket)
    with pytest.raises(ValueError, match="say why"):
        nag.accept(bucket, "AwsSolutions-S1", "not needed")
    with pytest.raises(ValueError, match="say why"):
        nag.accept_lint(made, "W3005", "not needed")
