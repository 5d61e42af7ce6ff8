"""Self-contained HTML reports: one file, pictures inside."""
