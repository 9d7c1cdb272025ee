"""What people see: output, tables, progress, errors, plots and reports."""
