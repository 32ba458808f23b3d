"""The agent's Erlang source, package data: what runs inside the VM. Nothing here talks to a node."""
