"""The answer of a notebook: one sentence at its head that cells further down compute.

A notebook opens with its question. The place of the answer is kept by a display that can be filled later (Jupyter's
display ids), so that who opens an executed copy reads it first, and a text typed by hand cannot outlive the numbers.
"""

from IPython.display import DisplayHandle, Markdown, display


class Answer:
    """Keeps the place where it is made; `give` fills it, and may do so again.

    Args:
        waiting: what stands there until then.
    """

    def __init__(self, waiting: str = "computed below") -> None:
        self._place: DisplayHandle = display(_said(waiting), display_id=True)

    def give(self, sentence: str) -> None:
        """Write the sentence (Markdown) at the head of the notebook, in this session and in its executed copy."""
        self._place.update(_said(sentence))


def _said(text: str) -> Markdown:
    return Markdown(f"**Answer:** {text}")
