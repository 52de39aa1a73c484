"""Chooses the content coding for a client. Source: RFC 9110, section 12.5.3; ties as E2B's clients meet them."""

from __future__ import annotations

_CODINGS = ("identity", "gzip", "*")


def best_coding(accepted: str) -> str | None:
    """Return the coding an Accept-Encoding ranks best: "gzip" or "identity"; None if it refuses both.

    Of equals the first named wins; `*` stands for identity, unless that is refused.
    """
    weights = _weights(accepted)
    unrefused = identity_accepted(accepted)
    for coding, weight in sorted(weights, key=lambda weighted: -weighted[1]):
        if weight <= 0 or coding not in _CODINGS:
            continue
        if coding == "*":
            return "identity" if unrefused else "gzip"
        return coding
    return "identity" if unrefused else None


def identity_accepted(accepted: str) -> bool:
    """Tell whether a file may go as it is: unless the client says no, to identity or to all it did not name."""
    weights = dict(reversed(_weights(accepted)))
    return weights.get("identity", weights.get("*", 1.0)) > 0


def _weights(text: str) -> list[tuple[str, float]]:
    return [_weight(piece) for piece in text.split(",") if piece.strip()]


def _weight(text: str) -> tuple[str, float]:
    coding, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 1.0
    return ("gzip" if coding == "x-gzip" else coding), weight
