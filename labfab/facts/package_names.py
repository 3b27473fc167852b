"""Package names: one spelling for the names of Python packages, so that they can be compared."""

from __future__ import annotations

import re


def normalized_name(requirement: str) -> str:
    """Return the normalized name of a requirement: PyYAML>=6 as pyyaml, ruamel.yaml as ruamel_yaml.

    As in PEP 503, but with `_` for `-`, as in the folder names of installed metadata.
    """
    return re.sub(r"[-_.]+", "_", re.split(r"[\[<>=!~]", requirement)[0]).lower()
