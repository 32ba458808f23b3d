"""Files only: packages, release trees, catalogs and the marker. Nothing here talks to a node."""
