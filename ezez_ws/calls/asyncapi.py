"""A contract as a document of AsyncAPI 3.0, from the point of view of who implements it.

The connection is one channel; each event is a message in it, and an operation; the array of its arguments is the
message's payload. Schemas there are of JSON Schema's draft 7, which says a few things in other words.
"""

import re
from typing import Any

from ..messages.protocol import EVENT_ERROR, EVENT_OK
from .describe import REFERENCE, map_schema

__all__ = ["write_asyncapi"]

_CHANNEL = "connection"
_ERROR = "ezez-ws.error"


def write_asyncapi(description: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """Make the document; it is valid as JSON, and as YAML."""
    messages: dict[str, Any] = {}
    schemas = {name: _as_draft_7(schema) for name, schema in description["schemas"].items()}
    operations: dict[str, Any] = {}

    def add(key: str, event: str, words: str, payload: Any) -> None:
        schemas[key] = payload
        told = {"description": words} if words else {}
        messages[key] = {"name": event, **told, "payload": {"$ref": f"{REFERENCE}{key}"}}

    for method in description["methods"]:
        key = _key(method["name"])
        operations[key] = _operation(key, method)
        add(f"{key}.event", method["event"], method["description"], _arguments(method["parameters"]))
        if not method["notice"]:
            answer = _tuple([_as_draft_7(method["answer"])], 1)
            add(f"{key}.answer", EVENT_OK, f"The answer to {method['event']}.", answer)
            add(_ERROR, EVENT_ERROR, "The answer to an event that has failed.", _tuple([_FAILURE], 1))
    told = {"description": description["description"]} if description["description"] else {}
    references = {key: {"$ref": f"#/components/messages/{key}"} for key in messages}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": description["name"], "version": fingerprint[:16], **told},
        "defaultContentType": "application/json",
        "channels": {_CHANNEL: {"address": None, "description": "The WebSocket.", "messages": references}},
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


_FAILURE = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "data": {}},
    "required": ["code", "message"],
}


def _key(name: str) -> str:
    """Return a name of ASCII."""
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"-{ord(match[0]):x}", name)


def _operation(key: str, method: dict[str, Any]) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{_CHANNEL}"}

    def messages(*keys: str) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{_CHANNEL}/messages/{one}"} for one in keys]

    operation: dict[str, Any] = {"action": "receive", "channel": channel, "messages": messages(f"{key}.event")}
    if method["description"]:
        operation["summary"], operation["description"] = method["description"].splitlines()[0], method["description"]
    if not method["notice"]:
        operation["reply"] = {"channel": channel, "messages": messages(f"{key}.answer", _ERROR)}
    return operation


def _arguments(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of an event's arguments."""
    plain = [one for one in parameters if not one["rest"]]
    items = [_titled(one["name"], _as_draft_7(one["schema"])) for one in plain]
    rest = [_titled(one["name"], _as_draft_7(one["schema"])) for one in parameters if one["rest"]]
    return _tuple(items, sum(not one["optional"] for one in plain), *rest)


def _tuple(items: list[Any], least: int, rest: Any = None) -> dict[str, Any]:
    if not items:
        return {"type": "array", "maxItems": 0} if rest is None else {"type": "array", "items": rest}
    return {"type": "array", "items": items, "additionalItems": rest or False, "minItems": least}


def _titled(name: str, schema: Any) -> Any:
    if not isinstance(schema, dict) or "$ref" in schema:  # beside which nothing counts
        return {"title": name, "allOf": [schema]}
    return {"title": name, **schema}


def _as_draft_7(schema: Any) -> Any:
    return map_schema(_reword, schema)


def _reword(schema: dict[str, Any]) -> dict[str, Any]:
    made = dict(schema)
    if "prefixItems" in made:
        rest = made.pop("items", True)
        made["items"] = made.pop("prefixItems")
        made["additionalItems"] = rest
    if isinstance(made.get("discriminator"), dict):  # as OpenAPI has it
        made["discriminator"] = made["discriminator"]["propertyName"]
    return made
