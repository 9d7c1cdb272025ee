"""Sessions: persistent interpreters whose variables survive from cell to cell."""
