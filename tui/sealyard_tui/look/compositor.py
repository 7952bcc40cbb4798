"""What a hidden widget has covered is painted: Textual may forget it."""

from __future__ import annotations

from textual._compositor import Compositor, CompositorMap


class WholeCompositor(Compositor):
    """Where the map of widgets is made anew because somebody asked for a place, and not for a layout, Textual (8.2)
    keeps no note of what came or went by it: the layout that follows finds nothing changed, and the words of a line
    that is hidden stay on the screen (https://github.com/Textualize/textual/issues/5056).
    """

    @property
    def full_map(self) -> CompositorMap:
        before = self._full_map
        now = super().full_map
        if now is not before:
            changed = [(before if each in before else now)[each] for each in before.keys() ^ now.keys()]
            self._dirty_regions.update(region for each in changed if (region := each.clip.intersection(each.region)))
        return now
