"""Words in, words out: options become calls to the engine, answers become text, JSON and exit codes."""
