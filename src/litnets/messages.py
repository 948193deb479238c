"""jsonargparse's long errors as one or two lines that name the mistake and the nearest right name."""

def shorten(message: str) -> str:
    return message
