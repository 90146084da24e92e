"""``ofa init``: a recipe for a folder of images, from what is in it, what is installed, and the time that there is."""
