"""The three facts about versions, kept apart: base, live, next boot; and what is wrong with them.

`live` is what the VM runs: the tree whose module md5s match every loaded module of its release. The
node's own word stands beside it. Reads files and asks the node; changes nothing.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from engine.errors import RelupError
from engine.node.door import Node, NodeFacts
from engine.place import Place
from engine.release.beam import file_md5s
from engine.release.hashing import Hashing
from engine.release.marker import read_marker
from engine.release.tree import ReleaseTree
from engine.release.version import parse_version


class LiveRelease(msgspec.Struct, frozen=True, kw_only=True):
    """What the VM runs.

    Attributes:
        tree: The tree that matches best; None when no tree could be compared, or when what runs is in none
            of them any more.
        drifted: Loaded modules of that release with another md5 than the tree's: empty for an exact match.
        replaced: Those of them whose files in one of the trees are gone, or others, since they were loaded.
        says: The node's own word, `emqx_release:version/0`.
    """

    tree: Path | None
    version: str | None
    drifted: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    says: str | None


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """The three facts, and what is wrong with them. None for what could not be asked or is not there."""

    base: str | None
    live: LiveRelease | None
    next_boot: str | None
    """What the next start boots."""
    marker: str | None
    """The version in relup/current, whether or not it boots."""
    booted: str | None
    """The version of the tree that the VM was booted from."""
    node: NodeFacts | None
    """What the node said of itself; None when it was not asked."""
    troubles: tuple[str, ...] = ()


def versions(place: Place, node: Node | None, *, ahead: Hashing | None = None) -> Versions:
    """The facts as they are now.

    Args:
        node: None when it is down or cannot be asked.
        ahead: A tree that is being hashed already.
    """
    trees, troubles = known_trees(place)
    base = trees.get(place.root)
    facts = node.observe() if node else None
    marker = read_marker(place.root)
    next_boot, marker_troubles = _next_boot(place, trees)
    booted = trees.get(Path(facts.boot_tree)) if facts else None
    live = live_release(node, facts, trees, ahead=ahead) if node and facts else None
    return Versions(
        base=str(base.version) if base else None,
        live=live,
        next_boot=next_boot,
        marker=marker.version,
        booted=str(booted.version) if booted else None,
        node=facts,
        troubles=(*troubles, *marker_troubles, *live_troubles(live), *_place_troubles(place)),
    )


def known_trees(place: Place) -> tuple[dict[Path, ReleaseTree], list[str]]:
    """RootDir's own tree and every deployed one that can be read; and what is wrong with the others."""
    trees: dict[Path, ReleaseTree] = {}
    troubles: list[str] = []
    for folder in (place.root, *_deployed(place)):
        try:
            trees[folder] = ReleaseTree.read(folder)
        except RelupError as error:
            troubles.append(f"the tree {folder} cannot be read: {error.happened}")
    return trees, troubles


def _deployed(place: Place) -> list[Path]:
    if not place.relup.is_dir():
        return []
    return sorted(
        folder for folder in place.relup.iterdir() if folder.name[0] != "." and _holds_releases(folder)
    )


def _holds_releases(folder: Path) -> bool:
    try:
        return (folder / "releases").is_dir()
    except PermissionError:  # the journal's folders are closed to other users
        return False


def live_release(
    node: Node, facts: NodeFacts, trees: Mapping[Path, ReleaseTree], *, ahead: Hashing | None = None
) -> LiveRelease:
    """The tree whose modules are the loaded ones. The one the node names is tried first.

    Args:
        ahead: A tree that is being hashed already.
    """
    loaded = node.module_md5s()
    likely = sorted(
        trees.values(),
        key=lambda tree: (str(tree.version) != facts.running_version, str(tree.root) != facts.boot_tree),
    )
    closest: ReleaseTree | None = None
    drifted: list[str] = []
    for tree in likely:
        md5s = ahead.md5s() if ahead is not None and ahead.root == tree.root else None
        differing = drift(tree, loaded, md5s=md5s)
        if closest is None or len(differing) < len(drifted):
            closest, drifted = tree, differing
        if not differing:
            break
    replaced = _replaced(node, trees, {module: loaded[module] for module in drifted})
    if closest is not None and replaced and str(closest.version) != facts.running_version:
        closest = None
    return LiveRelease(
        tree=closest.root if closest else None,
        version=str(closest.version) if closest else None,
        drifted=tuple(drifted),
        replaced=replaced,
        says=facts.running_version,
    )


def _replaced(node: Node, trees: Iterable[Path], drifted: Mapping[str, str]) -> tuple[str, ...]:
    """The modules that were loaded from a file of a tree which is gone, or holds something else by now."""
    loaded_from = (
        {module: Path(file) for module, file in node.module_files(drifted).items()} if drifted else {}
    )
    there = file_md5s({module: file for module, file in loaded_from.items() if file.is_file()})
    return tuple(
        module
        for module, file in loaded_from.items()
        if there.get(module) != drifted[module] and any(file.is_relative_to(tree / "lib") for tree in trees)
    )


def drift(
    tree: ReleaseTree, loaded: Mapping[str, str], *, md5s: Mapping[str, str] | None = None
) -> list[str]:
    """The loaded modules of a release that are not the tree's.

    Args:
        md5s: Those of the tree's modules, where they are known.
    """
    if md5s is None:
        md5s = file_md5s({module: file for module, file in tree.modules.items() if module in loaded})
    return [module for module, md5 in md5s.items() if loaded.get(module, md5) != md5]


def _next_boot(place: Place, trees: Mapping[Path, ReleaseTree]) -> tuple[str | None, list[str]]:
    """What the wrapper boots, and what is wrong with the marker."""
    base = trees.get(place.root)
    base_version = str(base.version) if base else None
    marker = read_marker(place.root)
    if marker.state == "absent":
        return base_version, []
    if marker.version is None:
        wrong = f"cannot be followed: {marker.problem}" if marker.problem else f"is {marker.state}"
        return base_version, [f"relup/current {wrong}; the base release boots"]
    tree = trees.get(place.tree(marker.version))
    if tree is None:
        return base_version, [f"relup/current names {marker.version}, but there is no such tree"]
    if base is not None and not parse_version(str(base.version)) < tree.version:
        return base_version, [
            f"relup/current names {marker.version}, but the base is {base_version}: "
            "the package was upgraded underneath, and the newer base boots"
        ]
    return marker.version, []


def live_troubles(live: LiveRelease | None) -> list[str]:
    """What is wrong with the code that runs, one sentence each."""
    if live is None:
        return []
    if live.replaced and live.version is None:
        return [
            f"the files of {len(live.replaced)} loaded modules were replaced underneath the running node, "
            f"which calls itself {live.says or 'nothing'}: what it runs is in no tree any more"
        ]
    troubles = []
    if live.drifted:
        some = ", ".join(live.drifted[:5]) + (" …" if len(live.drifted) > 5 else "")
        troubles.append(
            f"{len(live.drifted)} loaded modules are not those of {live.version}: {some} "
            "(patched, loaded by hand, or between releases)"
        )
    if live.says and live.version and live.says != live.version:
        troubles.append(f"the node calls itself {live.says}, its code is that of {live.version}")
    return troubles


def _place_troubles(place: Place) -> list[str]:
    """A RootDir in a container's writable layer is gone with the container."""
    in_container = Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
    if in_container and _filesystem_of(place.root) == "overlay":
        return [f"{place.root} lies in a container's own layer: what is deployed there is gone with it"]
    return []


def _filesystem_of(path: Path) -> str:
    """The type of the filesystem that holds `path` (/proc/mounts, the longest mount point that fits)."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    fitting = [(point, kind) for _, point, kind in mounts if path.is_relative_to(point)]
    return max(fitting, default=("", ""), key=lambda mount: len(mount[0]))[1]
