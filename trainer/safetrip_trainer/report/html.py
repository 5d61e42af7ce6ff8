"""Self-contained pages from the templates beside this module."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

__all__ = ["embed", "render"]


def embed(picture: Path) -> dict[str, str]:
    """A PNG or JPEG as `name` and data `uri`."""
    kind = {".png": "png", ".jpg": "jpeg"}[picture.suffix]
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    return {"name": picture.stem, "uri": f"data:image/{kind};base64,{data}"}


def render(template: str, **values: Any) -> str:
    """The template with its values, which are escaped unless they are `Markup`."""
    environment = Environment(
        loader=PackageLoader("safetrip_trainer.report", "."), autoescape=select_autoescape(default=True)
    )
    return environment.get_template(template).render(values)
