"""Sets up the OpenSearch domain, as its master user: the services' rights, and the life of an index.

CloudFormation calls it when the domain is made and whenever this file or the roles change. It is made of the standard
library and what AWS Lambda has.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

RIGHTS: dict[str, Any] = {
    # The last is for `ocelot migrate`, which writes the template of all indices.
    "cluster_permissions": ["cluster_composite_ops", "cluster_monitor", "cluster_manage_index_templates"],
    "index_permissions": [{"index_patterns": ["ocelot-logs-*"], "allowed_actions": ["indices_all"]}],
}
# An index holds what was accepted in one month, so it is complete at 31 days. It stays writable, since erasures and
# rebuilds write to it; what goes, and when, is the affair of each tenant's retention.
LIFECYCLE: dict[str, Any] = {
    "policy": {
        "description": "Ocelot: an index is packed once its month is over",
        "default_state": "filling",
        "states": [
            {
                "name": "filling",
                "actions": [],
                "transitions": [{"state_name": "packed", "conditions": {"min_index_age": "35d"}}],
            },
            {
                "name": "packed",
                "actions": [
                    {
                        "force_merge": {"max_num_segments": 1},
                        "retry": {"count": 3, "backoff": "exponential", "delay": "1h"},
                    }
                ],
                "transitions": [],
            },
        ],
        "ism_template": [{"index_patterns": ["ocelot-logs-*"], "priority": 100}],
    }
}
_SECONDS = 20


def handler(event: dict[str, Any], context: Any) -> None:
    """Answer CloudFormation whatever happens: without an answer it waits for an hour."""
    answer = {
        "Status": "SUCCESS",
        "PhysicalResourceId": "ocelot-index-rights",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    try:
        if event["RequestType"] != "Delete":  # the rights go with the domain
            set_up(os.environ["INDEX_URL"], event["ResourceProperties"]["Roles"])
    except Exception as error:
        answer |= {"Status": "FAILED", "Reason": f"{type(error).__name__}: {error}"[:500]}
    body = json.dumps(answer).encode()
    request = urllib.request.Request(event["ResponseURL"], data=body, method="PUT", headers={"content-type": ""})
    urllib.request.urlopen(request, timeout=_SECONDS).close()


def set_up(url: str, roles: list[str]) -> None:
    """Write the rights, who has them, and the lifecycle; may be repeated."""
    call(url, "PUT", "/_plugins/_security/api/roles/ocelot", RIGHTS)
    call(url, "PUT", "/_plugins/_security/api/rolesmapping/ocelot", {"backend_roles": roles})
    path = "/_plugins/_ism/policies/ocelot-logs"
    found = call(url, "GET", path, missing=True)
    place = f"?if_seq_no={found['_seq_no']}&if_primary_term={found['_primary_term']}" if found else ""
    call(url, "PUT", f"{path}{place}", LIFECYCLE)


def call(url: str, method: str, path: str, body: Any = None, *, missing: bool = False) -> dict[str, Any]:
    """A signed request; raises for an answer that is not good, but {} for none there when that is allowed."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.session import get_session

    data = None if body is None else json.dumps(body).encode()
    signed = AWSRequest(method=method, url=f"{url}{path}", data=data, headers={"content-type": "application/json"})
    SigV4Auth(get_session().get_credentials(), "es", os.environ["AWS_REGION"]).add_auth(signed)
    request = urllib.request.Request(signed.url, data=data, method=method, headers=dict(signed.headers.items()))
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if missing and error.code == 404:
            return {}
        raise RuntimeError(f"{method} {path}: {error.code}: {error.read(300).decode(errors='replace')}") from None
