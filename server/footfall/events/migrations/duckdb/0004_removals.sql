-- When events were removed, and the last sequence number that had been used by then, which is never
-- used again. Until the time beside it, what was removed is still among the bytes of the file.
CREATE TABLE removals (
    last_seq BIGINT NOT NULL,
    removed_us BIGINT NOT NULL,
    scrubbed_us BIGINT
);
