"""HTTPS: the certificate of a published lab, and the browsers that trust it."""

from .browsers import trust, untrust
from .certificate import delete, issue, letsencrypt, renew, self_signed, status

__all__ = ["delete", "issue", "letsencrypt", "renew", "self_signed", "status", "trust", "untrust"]
