"""Random torture: the tool, the VM or both are killed at random times, again and again, until all is well."""
