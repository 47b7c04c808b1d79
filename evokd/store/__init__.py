"""What a run leaves behind: its directory, the ledger of teacher calls and the reply cache."""
