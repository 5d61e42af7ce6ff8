"""Using a trained net on the workstation: predict, evaluate, pseudo-label, infer."""
