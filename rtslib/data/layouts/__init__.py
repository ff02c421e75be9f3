"""The layouts of chip folders, one a file; `rtslib.data.opening` lists them."""
