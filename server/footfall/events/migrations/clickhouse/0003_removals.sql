-- When events were removed, and the last sequence number that had been used by then, which is never
-- used again.
CREATE TABLE IF NOT EXISTS removals (
    last_seq Int64,
    removed_us Int64
) ENGINE = MergeTree ORDER BY removed_us
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
