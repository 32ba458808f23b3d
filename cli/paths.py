"""`relup list-supported-paths`: the hops of the catalog. Works with the node down."""

from typing import TYPE_CHECKING

import typer

from cli.context import Context

if TYPE_CHECKING:
    from engine.place import Place
    from engine.release.catalog import Catalog, CatalogFault


def command(context: typer.Context) -> None:
    """List the hops that can be upgraded by, as the catalog has them.

    The catalog is the folder given with --catalog, <RootDir>/relup/catalog/, and the official emqx_relup
    package where it is installed. A file that cannot be read is named; the others are listed all the same.
    """
    _list(context.obj)


def _list(context: Context) -> None:
    from engine.release.catalog import catalog_folders, read_catalog
    from engine.release.routes import routes_of

    catalog = read_catalog(catalog_folders(context.place.root, given=context.catalog))
    output = context.output
    for start, end in catalog.pairs:
        output.line(f"{start} -> {end}")
    routes = routes_of(catalog.pairs)
    for route in routes:
        output.line(f"{' -> '.join(route)} (one hop at a time)")
    if not catalog.pairs:
        output.line(f"no supported upgrade paths: {_why_none(catalog, context.place)}")
    for fault in catalog.faults:
        output.warn(_told(fault))
    output.answer(
        {
            "paths": [{"from_version": start, "target_version": end} for start, end in catalog.pairs],
            "routes": routes,
            "faults": [
                {"file": str(fault.file), "name": fault.error.name, "happened": fault.error.happened}
                for fault in catalog.faults
            ],
        },
        node=None,
    )


def _why_none(catalog: "Catalog", place: "Place") -> str:
    if catalog.faults:
        return "nothing in the catalog can be used; the warnings say why"
    return (
        f"no hop file in {place.own_catalog}, in an installed emqx_relup package, or in the folder given with "
        "--catalog"
    )


def _told(fault: "CatalogFault") -> str:
    """What is wrong with a file, which is named once: most errors begin with its name."""
    happened = fault.error.happened
    return happened if happened.startswith(str(fault.file)) else f"{fault.file}: {happened}"
