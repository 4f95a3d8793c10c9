-- What workspaces report, a table a kind, so that a question reads its kind only. A migration may be
-- cut short and run again, so every statement can be repeated.
-- Events that add up to a state lie beside each other: states are made when they are read.
CREATE TABLE IF NOT EXISTS flow_run_events (
    seq Int64,
    workspace_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    run_key Int64,
    run_id String,
    workflow_id LowCardinality(String),
    workflow_name LowCardinality(String),
    user_id String,
    source LowCardinality(String),
    status LowCardinality(String),
    started_us Nullable(Int64),
    finished_us Nullable(Int64)
) ENGINE = MergeTree ORDER BY (workspace_id, run_key, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS ai_operations (
    seq Int64,
    workspace_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    operation_id String,
    run_id String,
    conversation_id String,
    workflow_name LowCardinality(String),
    node LowCardinality(String),
    user_id String,
    tool LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    input_tokens Int64,
    output_tokens Int64,
    cache_read_tokens Int64,
    cache_write_tokens Int64,
    reasoning_tokens Int64,
    cached Int8,
    cost_pd Nullable(Int64),
    cache_cost_pd Int64,
    price_list LowCardinality(String)
) ENGINE = MergeTree ORDER BY (workspace_id, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS conversations (
    seq Int64,
    workspace_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    conversation_id String,
    user_id String
) ENGINE = MergeTree ORDER BY (workspace_id, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS messages (
    seq Int64,
    workspace_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    message_id String,
    conversation_id String,
    role LowCardinality(String),
    user_id String
) ENGINE = MergeTree ORDER BY (workspace_id, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS document_events (
    seq Int64,
    workspace_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    document_key Int64,
    document_id String,
    knowledge_base LowCardinality(String),
    name String,
    file_type LowCardinality(String),
    user_id String,
    status LowCardinality(String)
) ENGINE = MergeTree ORDER BY (workspace_id, document_key, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS trigger_events (
    seq Int64,
    workspace_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    trigger_key Int64,
    trigger_id String,
    enabled Int8
) ENGINE = MergeTree ORDER BY (workspace_id, trigger_key, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS api_calls (
    seq Int64,
    workspace_id String,
    received_us Int64,
    key_hi UInt64,
    key_lo UInt64,
    event_id String,
    ts_us Int64,
    endpoint LowCardinality(String),
    method LowCardinality(String),
    status Nullable(Int32),
    duration_us Nullable(Int64)
) ENGINE = MergeTree ORDER BY (workspace_id, ts_us, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000;
