"""ImageNet and other labelled images: preparation, stream, residual networks and their recipe."""
