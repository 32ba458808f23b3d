"""Releases as small as the engine accepts: the miniature EMQX's own applications, and a VM that only exits."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.node.door import Application
from engine.release.beam import file_md5s
from engine.release.tree import ReleaseTree
from fixtures.build import Built
from fixtures.files import copy_tree
from fixtures.package import make_package, package_name
from tests.fake_node import Booted

STUB = "#!/bin/sh\nexit 0\n"
PROCESSES = {"emqx_metrics": 1, "emqx_connection": 5, "emqx_cm": 1}
"""How many processes of each module the VM in memory has."""


@dataclass(frozen=True)
class Small:
    """The small releases: `base` becomes RootDir, `tarball` the target, unpacked in `target`."""

    base: Path
    target: Path
    tarball: Path
    catalog: Path

    def target_application(self, name: str) -> Path:
        """The .app file of one of the target's applications."""
        return ReleaseTree.read(self.target).applications[name].app_file


def make_small(built: Built, folder: Path) -> Small:
    """Make both releases of the hop 5.10.4 -> 5.10.5, with the hop that can be undone and the one that cannot."""
    base, target = folder / "base", folder / "target"
    shrink(built.tree("5.10.4"), base)
    shrink(built.tree("5.10.5"), target)
    tarball = make_package(target, tarball=folder / package_name("5.10.5"))
    return Small(base, target, tarball, built.catalog)


def shrink(tree: Path, small: Path) -> None:
    """Copy what is EMQX's own of a tree; stubs stand for the VM and the wrapper."""
    read = ReleaseTree.read(tree)
    for ebin in tree.glob("lib/emqx*/ebin"):
        copy_tree(ebin, small / ebin.relative_to(tree))
    copy_tree(tree / "releases", small / "releases")
    for program in (f"erts-{read.erts_version}/bin/erl", "bin/emqx"):
        path = small / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB)
        path.chmod(0o755)
    own = [app for app in read.applications.values() if app.name.startswith("emqx")]
    listed = ", ".join(f'{{{app.name}, "{app.version}"}}' for app in own)
    (small / "releases" / str(read.version) / "emqx.rel").write_text(
        f'{{release, {{"emqx", "{read.version}"}}, {{erts, "{read.erts_version}"}}, [{listed}]}}.\n'
    )
    for part in ("etc", "data", "log"):
        (small / part).mkdir(exist_ok=True)


def fresh_root(small: Small, root: Path) -> None:
    """RootDir as it was installed."""
    shutil.rmtree(root, ignore_errors=True)
    copy_tree(small.base, root)


def booted(root: Path) -> Booted:
    """What the wrapper boots: the tree that relup/current names, else RootDir."""
    marker = root / "relup" / "current"
    tree = root / "relup" / marker.read_text().strip() if marker.exists() else root
    release = ReleaseTree.read(tree)
    md5s = file_md5s(release.modules)
    return Booted(
        boot_tree=str(tree),
        running_version=str(release.version),
        modules={module: (md5s[module], str(file)) for module, file in release.modules.items()},
        applications={
            name: Application(version=app.version, running=True) for name, app in release.applications.items()
        },
        code_path=tuple(str(app.ebin) for app in release.applications.values()),
        processes=PROCESSES,
    )
