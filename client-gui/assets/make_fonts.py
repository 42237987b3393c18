#!/usr/bin/python3
"""Makes the subsets in fonts/ from the Debian packages fonts-inter, fonts-jetbrains-mono and fonts-dejavu-core.

Run from this folder with python3-fonttools installed: ./make_fonts.py [ROOT]
ROOT is where the packages are unpacked, / unless given.
"""
import sys
from fontTools import subset
from fontTools.ttLib import TTFont

ROOT = (sys.argv[1] if len(sys.argv) > 1 else "").rstrip("/")
TEXT = (
    list(range(0x20, 0x7F)) + list(range(0xA0, 0x180))      # Latin, Latin-1, Latin Extended-A
    + list(range(0x218, 0x21C)) + list(range(0x300, 0x30D))  # Romanian, combining marks
    + list(range(0x370, 0x400)) + list(range(0x400, 0x460))  # Greek, Cyrillic
    + [0x490, 0x491, 0x1E9E]
    + list(range(0x2000, 0x2060)) + [0x20AC, 0x2116, 0x2122, 0x2190, 0x2191, 0x2192, 0x2193, 0x2194]
    + [0x2202, 0x2206, 0x220F, 0x2211, 0x2212, 0x221A, 0x221E, 0x222B, 0x2248, 0x2260, 0x2264, 0x2265, 0xFFFD]
)
SIGNS = [ord(c) for c in "✓✗✘✔∑…‖?–●○◐▾▴▸▶⏎→←↑↓↔↻⟳⚠■□◆★☆×·•≥≤±µ∞∈∉∀∃⌃⇧⌘␣\ufffd"]
BOX = list(range(0x2500, 0x25A0))  # programs draw tables and bars with these


def save(source, target, points, features, tabular=False):
    font = TTFont(source, recalcTimestamp=False)
    if tabular:
        swap_figures(font)
    options = subset.Options(layout_features=features, hinting=False, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14], notdef_outline=True)
    options.desubroutinize = True
    tool = subset.Subsetter(options)
    tool.populate(unicodes=points)
    tool.subset(font)
    font.save(target)
    print(target, len(font.getGlyphOrder()), "glyphs")


def swap_figures(font):
    """Points the digits at the tabular ones: the toolkit cannot ask for the feature `tnum`."""
    table = font["GSUB"].table
    lookups = next(r.Feature.LookupListIndex for r in table.FeatureList.FeatureRecord if r.FeatureTag == "tnum")
    swaps = {}
    for index in lookups:
        for sub in table.LookupList.Lookup[index].SubTable:
            swaps.update(getattr(sub, "ExtSubTable", sub).mapping)
    for cmap in font["cmap"].tables:
        for point in range(0x30, 0x3A):
            if point in cmap.cmap:
                cmap.cmap[point] = swaps.get(cmap.cmap[point], cmap.cmap[point])


INTER = ROOT + "/usr/share/fonts/opentype/inter/"
MONO = ROOT + "/usr/share/fonts/truetype/jetbrains-mono/"
DEJAVU = "/usr/share/fonts/truetype/dejavu/"
save(INTER + "Inter-Regular.otf", "fonts/Inter-Regular.otf", TEXT, ["kern", "mark", "ccmp"], tabular=True)
save(INTER + "Inter-SemiBold.otf", "fonts/Inter-SemiBold.otf", TEXT, ["kern", "mark", "ccmp"], tabular=True)
save(MONO + "JetBrainsMono-Regular.ttf", "fonts/JetBrainsMono-Regular.ttf", TEXT + BOX, ["mark", "ccmp"])
save(DEJAVU + "DejaVuSans.ttf", "fonts/DejaVuSans-signs.ttf", SIGNS, [])
