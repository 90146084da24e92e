"""Search spaces read off plain timm models: which channels must be cut together, and what every part computes.

``axes`` are groups of channels; ``walk`` finds them, and the operators, with torch.fx; ``layout`` is the whole network;
``space`` turns it into genes; ``model`` makes the network elastic and cuts subnets out; ``rebuild`` builds those again.
Nothing here names a family: a family says in ``supernet/families/NAME/timm_parts.py`` how its model is cut into parts.
"""
