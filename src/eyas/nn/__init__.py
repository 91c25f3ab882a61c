"""An architecture's value as a torch network, and its weights in and out."""
