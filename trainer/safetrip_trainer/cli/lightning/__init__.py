"""`trainer fit`, `validate`, `test` and `predict`: Lightning's own verbs, with our files and errors."""
