"""Files of weights that travel: safetensors or a torch state dict, with a card that describes them.

hvcod writes them, and reads those that it or anybody else has written.
"""
