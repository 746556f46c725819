"""All I/O of celeriac's own: messages, ledger, keys and dead letters in a database."""
