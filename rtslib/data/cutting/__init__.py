"""Cutting: rasters and polygons of a user's own ground into a chip set, one idea a file; `cutter.cut_chips` does it.

A *place* is a window of the region's grid that becomes a chip (`places`). The *truth* is known slumps as polygons;
those on a chip are burnt into it as instances (`burning`). Chips that share ground share a site group (`sites`). What
image lies under a chip, and of which date, is its *origin* (`origins`). `folders` writes the layouts.
"""
