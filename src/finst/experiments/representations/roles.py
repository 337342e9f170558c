"""The names of the tokens that the representational analyses read. Imports nothing."""

LAST = "last"
"""The prompt's last token, which is about the target; ``comma 0`` is the token after the first described object."""

COMMAS = "commas"
"""The mean over all commas."""


def roles_of(objects: int) -> tuple[str, ...]:
    """The tokens that are each about one object, in prompts over so many objects: their commas and the last token."""
    return (*(f"comma {index}" for index in range(objects - 1)), LAST)
