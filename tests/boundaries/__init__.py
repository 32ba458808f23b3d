"""Every boundary: the tool, the VM or both die right before and right after each entry of the journal."""
