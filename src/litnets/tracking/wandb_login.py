"""The address of Weights & Biases, and whether the user is logged in. Imports neither wandb nor torch."""

import os
from configparser import ConfigParser, Error
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit


def service() -> str:
    """Return the address of W&B: WANDB_BASE_URL, the host that `wandb login --host` has stored, or the public one."""
    settings = ConfigParser()
    folder = os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb"
    try:
        settings.read(Path(folder) / "settings")
    except Error:
        settings = ConfigParser()  # wandb itself reports what is wrong with the file
    stored = settings.get("default", "base_url", fallback="https://api.wandb.ai")
    return (os.environ.get("WANDB_BASE_URL") or stored).rstrip("/")


def logged_in() -> bool:
    """Whether wandb would find an API key without asking for one. Does not import wandb."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    configured = os.environ.get("NETRC")
    files = [Path(configured).expanduser()] if configured else [Path.home() / name for name in (".netrc", "_netrc")]
    for file in files:
        try:
            credentials = netrc(str(file)).authenticators(urlsplit(service()).netloc)
        except (OSError, NetrcParseError):
            continue
        if credentials and credentials[2]:
            return True
    return False
