"""From a template and its values to a page: everything escaped but the figures, which are our own markup."""

from collections.abc import Sequence
from typing import Any


def render(
    template: str, drawings: Sequence[Any], *, package: str = "understudy.report", **values: Any
) -> str:
    """The page that ``template`` makes of ``values``.

    Args:
        template: file name.
        drawings: :class:`understudy.report.drawing.Drawing` objects. Names in them are drawn as glyph paths, never written as
            text, so their SVG goes into the page as it is.
        package: in whose folder the template is; it may build on those of this folder.
        values: what the template names; a missing one is an error.
    """
    import jinja2
    from markupsafe import Markup

    shown = [
        {
            "title": d.title,
            "caption": d.caption,
            "svg": Markup(d.svg),  # noqa: S704
            "wide": d.wide,
            "pixels": round(96 * d.width),
        }
        for d in drawings
    ]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader(name, "templates")
                for name in dict.fromkeys((package, "understudy.report"))
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(drawings=shown, **values)
