"""Dedup keys: what makes an event the same event when it is sent again."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from footfall.errors import FieldViolation, InvalidInputError
from footfall.ingest.model import NO_KEY

IDEMPOTENCY_KEY_MAX = 256


def dedup_keys(
    tenant_id: str,
    event_ids: Sequence[str],
    places: Sequence[int],
    idempotency_key: str | None,
) -> list[bytes]:
    """Return an event's key each: of its own id, else of its place under the Idempotency-Key, else
    NO_KEY.

    `places` are the events' places in the batch as it was sent, so that a batch that is sent again
    has the same keys whichever of its events were bad. Keys cover the tenant.
    """
    if not any(event_ids):
        if not idempotency_key:
            return [NO_KEY] * len(event_ids)
        return [_place_key(tenant_id, idempotency_key, place) for place in places]
    prefix = f"{tenant_id}\0e".encode()
    keys = []
    for event_id, place in zip(event_ids, places, strict=True):
        if event_id:
            keys.append(blake2b(prefix + event_id.encode(), digest_size=16).digest())
        elif idempotency_key:
            keys.append(_place_key(tenant_id, idempotency_key, place))
        else:
            keys.append(NO_KEY)
    return keys


def checked_idempotency_key(key: str | None) -> str | None:
    """Return the key, or None for none; raises InvalidInputError for one that is too long."""
    if key and len(key) > IDEMPOTENCY_KEY_MAX:
        message = (
            f"The Idempotency-Key has {len(key)} characters; "
            f"at most {IDEMPOTENCY_KEY_MAX} are taken."
        )
        raise InvalidInputError(message, violations=[FieldViolation("idempotency-key", message)])
    return key or None


def _place_key(tenant_id: str, idempotency_key: str, place: int) -> bytes:
    text = f"{tenant_id}\0k{idempotency_key}\0{place}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
