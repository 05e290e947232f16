"""What the displays share: matplotlib, which is imported when something is drawn, and colours."""

from typing import Any

# Okabe and Ito's colours, which colour-blind people can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def new_axes(
    ax: Any, who: str, shape: tuple[int, int] = (1, 1), size: tuple[float, float] = (7, 4)
) -> list[Any]:
    """Return the axes to draw on: those that are given, or those of a new figure.

    Parameters
    ----------
    ax : Axes, sequence of Axes or None
    who : str
        The class that draws, for messages.
    shape : tuple of int
        Rows and columns of a figure with all the axes.
    size : tuple of float
        Width and height of a new figure in inches.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For another number of axes.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            f"{who}.plot needs matplotlib; install it with: pip install 'tabdl[plot]'"
        ) from error
    if ax is None:
        options: Any = {"sharex": shape[0] > 1, "squeeze": False, "layout": "constrained"}
        ax = pyplot.subplots(*shape, figsize=size, **options)[1].ravel()
    axes = list(ax) if hasattr(ax, "__len__") else [ax]
    if len(axes) != shape[0] * shape[1]:
        raise ValueError(f"{who}.plot: ax must hold {shape[0] * shape[1]} axes, got {len(axes)}.")
    return axes


def shortened(name: str, length: int = 28) -> str:
    """Return a name of at most ``length`` characters that matplotlib does not read as a formula."""
    name = name if len(name) <= length else name[: length - 1] + "…"
    return name.replace("$", r"\$")
