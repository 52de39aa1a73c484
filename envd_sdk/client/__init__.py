"""The control plane's REST API as data: models, and what every client of it has."""

from envd_sdk.client import models
from envd_sdk.client.client import AuthenticatedClient, Limits

__all__ = ["AuthenticatedClient", "Limits", "models"]
