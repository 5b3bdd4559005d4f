"""XML that somebody else wrote: parsed without entities, errors name the file and the line.

A document type declaration is refused before the parser sees it, so there is nothing to expand or to fetch.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from netllm_gym.errors import TraceFormatError


def read_xml(text: str, name: str) -> ElementTree.Element:
    """Return the root of a document, with the namespaces taken off every tag.

    Args:
        text: the document.
        name: used in error messages.

    Raises:
        TraceFormatError: with a document type, or not XML.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise TraceFormatError(name, "a document type declaration is not accepted")
    try:
        # Bytes in UTF-8 whatever the declaration says: another encoding could hide a document type from the check.
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text).encode())
    except ElementTree.ParseError as error:
        raise TraceFormatError(name, f"not XML: {error.args[0]}", error.position[0]) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    return root
