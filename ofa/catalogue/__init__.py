"""What there is to choose from: presets, and the models of timm that can be made elastic."""
