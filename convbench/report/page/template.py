"""Fill a page's template with data, style and script, and a security policy that allows only this script."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convbench.core.text import cut_name

SCRIPTS = (
    "data", "scales", "filters", "limits", "marks", "panels", "chart", "pointer", "visits", "pin", "table", "export",
    "plain", "link", "main",
)  # fmt: skip
LARGE = 100_000
"""Number of characters of data above which they are deflated."""


def render(template: str, data: dict[str, Any], **values: Any) -> str:
    """Return the filled template, with the style, the script and the policy that allows only this script."""
    source = script()
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template(template)
    style = Markup(_asset("style.css"))
    return page.render(data=data, packed=_pack(data), policy=policy, script=Markup(source), style=style, **values)


def _pack(data: dict[str, Any]) -> str:
    """Return large data deflated and in base64, for the script to inflate; empty for data that are small."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode() if len(text) > LARGE else ""


@cache
def script() -> str:
    """Return the page's whole script: small files in one scope."""
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'(async () => {{\n"use strict";\n{parts}\n}})();'


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("convbench.report.page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["cut_name"] = cut_name
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    return environment


@cache
def _asset(name: str) -> str:
    return (resources.files("convbench.report.page") / "assets" / name).read_text("utf-8")
