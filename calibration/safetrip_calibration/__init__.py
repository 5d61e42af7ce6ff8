"""Representative frames -> Q/DQ ONNX -> engine -> comparison -> budget -> bundle."""
