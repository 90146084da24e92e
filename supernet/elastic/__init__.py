"""Elastic leaves: timm's own layers, able to run with a part of their weights; one kind a file.

A leaf is made elastic by replacing its class (``leaf.__class__ = ElasticConv2d``), so parameters, state-dict keys and
timm's forward code stay what they were. The active part is a prefix: the first channels of every axis. The input width
is read off the input; what else can be chosen is set by whoever activates a subnet. A leaf whose active tensors are no
prefixes of its own says in ``active_tensor`` what they are. ``leaves`` knows every plain layer that can be elastic.
"""
