"""One pair of hands on the VM: the Erlang distribution client and the typed face of the agent.

Knows nothing of upgrades. The pure parts (terms, handshake, framing, control messages) touch no socket.
"""
