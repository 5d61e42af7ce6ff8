"""The workstation: SafeTrip-Q tree -> prepared index -> model -> fit -> evaluate -> export."""
