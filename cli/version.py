"""The version of this tool, said once for the command line; a test holds it to pyproject.toml.

Asking the installed package instead would import a fifth of what `relup status` has time for.
"""

VERSION = "0.1.0"
