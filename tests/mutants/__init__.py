"""Guards are removed one by one; a test must go red for each."""
