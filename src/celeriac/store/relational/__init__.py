"""What SQL stores have in common: the transactions, statement by statement; the statements themselves are each dialect's."""
