"""A little SVG: shapes with classes, and colours for light and dark."""

from xml.sax.saxutils import escape

# Series are told apart by lightness too, for those who see no hues.
LIGHT = {"paper": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "line": "#d1d9e0",
         "kiln": "#b3400b", "buildkit": "#1f6feb", "buildah": "#1a7f37", "kaniko": "#8250df"}
DARK = {"paper": "#0d1117", "ink": "#e6edf3", "soft": "#9198a1", "line": "#3d444d",
        "kiln": "#ff8f57", "buildkit": "#79b8ff", "buildah": "#56d364", "kaniko": "#d2a8ff"}
SERIES = ("kiln", "buildkit", "buildah", "kaniko")


class Drawing:
    """Collects shapes; `text()` is the file."""

    def __init__(self, width, height, title):
        self.width, self.height, self.title = width, height, title
        self.shapes = []

    def line(self, x1, y1, x2, y2, kind="line"):
        self.shapes.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def bar(self, x, y, width, height, kind):
        self.shapes.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" '
                           f'height="{height:.1f}"/>')

    def hollow(self, x, y, width, height, kind):
        """An outline: what belongs to another day."""
        self.shapes.append(f'<rect class="{kind} hollow" x="{x:.1f}" y="{y:.1f}" '
                           f'width="{max(width, 1):.1f}" height="{height:.1f}"/>')

    def dot(self, x, y, kind):
        self.shapes.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')

    def path(self, points, kind):
        words = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(f'<polyline class="{kind} open" points="{words}"/>')

    def words(self, x, y, text, kind="ink", anchor="start", size=12):
        self.shapes.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
                           f'font-size="{size}">{escape(text)}</text>')

    def text(self, dark_only=False):
        style = colours(DARK if dark_only else LIGHT)
        if not dark_only:
            style += f" @media (prefers-color-scheme: dark) {{ {colours(DARK)} }}"
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" '
            f'font-family="system-ui, sans-serif">',
            f"<title>{escape(self.title)}</title>", f"<style>{style}</style>",
            # Paper of its own: a page may be dark where its reader's system is not.
            f'<rect class="paper" width="{self.width}" height="{self.height}" rx="6"/>',
            *self.shapes, "</svg>", ""])


def colours(names):
    rules = [f".paper {{ fill: {names['paper']} }}", f".ink {{ fill: {names['ink']} }}",
             f".soft {{ fill: {names['soft']} }}",
             # Numbers stay legible where a line crosses them.
             f"text {{ paint-order: stroke; stroke: {names['paper']}; stroke-width: 3px }}",
             f".line {{ stroke: {names['line']}; stroke-width: 1 }}",
             f".limit {{ stroke: {names['ink']}; stroke-width: 1.5; stroke-dasharray: 4 3 }}"]
    for series in SERIES:
        rules.append(f".{series} {{ fill: {names[series]} }} "
                     f".{series}.open {{ fill: none; stroke: {names[series]}; stroke-width: 2 }} "
                     f".{series}.hollow {{ fill: none; stroke: {names[series]}; stroke-width: 1.2; "
                     f"stroke-dasharray: 3 2 }}")
    return " ".join(rules)
