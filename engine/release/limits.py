"""How much a package may ask for. Numbers only; generous for real packages (110 to 130 applications,
40 to 100 MB compressed), small enough that a hostile one cannot fill memory, disk or time.
"""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one extraction.

    Attributes:
        members: Entries of the archive, those that are not written included.
        stream_bytes: Length of the uncompressed archive.
        ratio: Uncompressed over compressed bytes, once `ratio_free_bytes` have come out.
        ratio_free_bytes: Below this the ratio is not looked at.
        extension_bytes: One PAX record block or GNU long name.
        path_bytes: A whole name, in UTF-8.
        component_bytes: One part of a name between slashes.
        depth: Parts of a name.
    """

    members: int = 200_000
    stream_bytes: int = 8 << 30
    ratio: int = 200
    ratio_free_bytes: int = 64 << 20
    extension_bytes: int = 64 << 10
    path_bytes: int = 1024
    component_bytes: int = 255
    depth: int = 64
