"""Makes text safe for a terminal: control characters are escaped.

Names of files, journals, notices and errors of libraries may hold any bytes, and a terminal would
obey some of them. Whatever ckptkit logs, raises or prints passes through here.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text with its control characters escaped; line breaks and tabs stay.

    Bytes of a name that are no UTF-8 (`os.fsdecode` gives lone surrogates) are escaped too: no
    terminal and no file in UTF-8 can hold them.

    Example:
        >>> from ckptkit.printable_text import printable
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or c in "\n\t"
        else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def sentence(error: BaseException) -> str:
    """Return the text of an error as a whole sentence, so that another one may follow.

    Errors of ckptkit end with a full stop; those of Python and of other libraries rarely do. An
    error without a text is represented by its class.

    Example:
        >>> from ckptkit.printable_text import sentence
        >>> sentence(OSError("no space"))
        'no space.'
    """
    text = str(error).strip() or repr(error)
    return text if text.endswith((".", "!", "?")) else f"{text}."
