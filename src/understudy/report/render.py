"""From a template and its values to a page: everything is escaped but the figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.report.drawing import Drawing

_PIXELS_PER_INCH = 96  # of CSS


def render(
    template: str,
    drawings: Sequence["Drawing"],
    *,
    package: str = "understudy.report",
    **values: Any,
) -> str:
    """The page that ``template`` makes of ``values``.

    Args:
        template: file name.
        drawings: finished figures. Names in them are drawn as glyph paths, never written as text,
            so their SVG goes into the page unescaped.
        package: whose ``templates`` folder holds the template, which may extend those of
            ``understudy.report``.
        values: what the template names; a missing one is an error.
    """
    import jinja2
    from markupsafe import Markup

    shown = [
        {
            "title": drawing.title,
            "caption": drawing.caption,
            "svg": Markup(drawing.svg),  # noqa: S704
            "wide": drawing.wide,
            "pixels": round(_PIXELS_PER_INCH * drawing.width),
        }
        for drawing in drawings
    ]
    packages = dict.fromkeys((package, "understudy.report"))
    loaders = [jinja2.PackageLoader(name, "templates") for name in packages]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(drawings=shown, **values)
