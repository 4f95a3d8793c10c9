-- A migration may be cut short and run again, so every statement can be repeated.
CREATE TABLE IF NOT EXISTS api_requests (
    seq Int64,
    application_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    consumer_id String,
    method LowCardinality(String),
    url String,
    function String,
    status_code Nullable(Int32),
    response_us Int64,
    data String
) ENGINE = MergeTree ORDER BY (application_id, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS web_events (
    seq Int64,
    site_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    visits Int8,
    event_id String,
    ts_us Int64,
    local_day Int32,
    kind Int8,
    excluded Int8,
    visitor_id String,
    page_id Int64,
    medium LowCardinality(String),
    source String,
    source_detail String,
    referrer_host String,
    referrer String,
    utm_source String,
    utm_medium String,
    utm_campaign String,
    utm_term String,
    utm_content String,
    browser LowCardinality(String),
    os LowCardinality(String),
    device LowCardinality(String),
    country LowCardinality(String),
    city String,
    language LowCardinality(String),
    timezone LowCardinality(String),
    screen LowCardinality(String),
    name String,
    properties String,
    engaged_s Float64
) ENGINE = MergeTree ORDER BY (site_id, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

-- The row that was inserted last stands; the writer inserts pages whole.
CREATE TABLE IF NOT EXISTS pages (
    page_id Int64,
    site_id String,
    host String,
    path String,
    title String,
    author String,
    pubdate String,
    og_image String,
    search_text String
) ENGINE = ReplacingMergeTree ORDER BY (site_id, page_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS slot15 (
    site_id String,
    slot_us Int64,
    local_day Int32,
    pageviews Int64,
    visits Int64,
    engaged_us Int64
) ENGINE = SummingMergeTree ORDER BY (site_id, slot_us, local_day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS pageday (
    site_id String,
    local_day Int32,
    page_id Int64,
    pageviews Int64,
    visits Int64,
    engaged_us Int64
) ENGINE = SummingMergeTree ORDER BY (site_id, local_day, page_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

-- What counts, and how: the same as in rollups.py, which counts again what a failed commit has left.
CREATE MATERIALIZED VIEW IF NOT EXISTS slot15_of_events TO slot15 AS
SELECT
    site_id,
    intDiv(ts_us, 900000000) * 900000000 AS slot_us,
    local_day,
    toInt64(countIf(kind = 1)) AS pageviews,
    sum(visits) AS visits,
    sumIf(toInt64(floor(engaged_s * 1000000 + 0.5)), kind = 2) AS engaged_us
FROM (
    SELECT site_id, ts_us, local_day, kind, toInt64(web_events.visits) AS visits, engaged_s
    FROM web_events
    WHERE excluded = 0 AND (kind IN (0, 1) OR (kind = 2 AND engaged_s > 0))
)
GROUP BY site_id, slot_us, local_day;

CREATE MATERIALIZED VIEW IF NOT EXISTS pageday_of_events TO pageday AS
SELECT
    site_id,
    local_day,
    page_id,
    toInt64(countIf(kind = 1)) AS pageviews,
    sum(visits) AS visits,
    sumIf(toInt64(floor(engaged_s * 1000000 + 0.5)), kind = 2) AS engaged_us
FROM (
    SELECT site_id, local_day, page_id, kind, toInt64(web_events.visits) AS visits, engaged_s
    FROM web_events
    WHERE excluded = 0 AND (kind IN (0, 1) OR (kind = 2 AND engaged_s > 0))
)
GROUP BY site_id, local_day, page_id;
