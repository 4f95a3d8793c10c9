-- What workspaces report, a table a kind, so that a question reads its kind only.
CREATE TABLE flow_run_events (
    seq BIGINT NOT NULL,
    workspace_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    run_key BIGINT NOT NULL,
    run_id VARCHAR NOT NULL,
    workflow_id VARCHAR NOT NULL,
    workflow_name VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    started_us BIGINT,
    finished_us BIGINT
);

CREATE TABLE ai_operations (
    seq BIGINT NOT NULL,
    workspace_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    operation_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    conversation_id VARCHAR NOT NULL,
    workflow_name VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    tool VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cached TINYINT NOT NULL,
    cost_pd BIGINT,
    cache_cost_pd BIGINT NOT NULL,
    price_list VARCHAR NOT NULL
);

CREATE TABLE conversations (
    seq BIGINT NOT NULL,
    workspace_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    conversation_id VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL
);

CREATE TABLE messages (
    seq BIGINT NOT NULL,
    workspace_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    message_id VARCHAR NOT NULL,
    conversation_id VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL
);

CREATE TABLE document_events (
    seq BIGINT NOT NULL,
    workspace_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    document_key BIGINT NOT NULL,
    document_id VARCHAR NOT NULL,
    knowledge_base VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    file_type VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    status VARCHAR NOT NULL
);

CREATE TABLE trigger_events (
    seq BIGINT NOT NULL,
    workspace_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    trigger_key BIGINT NOT NULL,
    trigger_id VARCHAR NOT NULL,
    enabled TINYINT NOT NULL
);

CREATE TABLE api_calls (
    seq BIGINT NOT NULL,
    workspace_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    endpoint VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    status INTEGER,
    duration_us BIGINT
);

-- The states of runs, documents and triggers, as of the events that are folded. No keys: the one
-- writer keeps them unique.
CREATE TABLE runs (
    workspace_id VARCHAR NOT NULL,
    run_key BIGINT NOT NULL,
    run_id VARCHAR NOT NULL,
    first_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL,
    workflow_id VARCHAR NOT NULL,
    workflow_name VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    started_us BIGINT,
    finished_us BIGINT,
    ts_us BIGINT NOT NULL,
    run_time_us BIGINT
);

CREATE TABLE documents (
    workspace_id VARCHAR NOT NULL,
    document_key BIGINT NOT NULL,
    document_id VARCHAR NOT NULL,
    first_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL,
    uploaded_us BIGINT,
    knowledge_base VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    file_type VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL
);

CREATE TABLE triggers (
    workspace_id VARCHAR NOT NULL,
    trigger_key BIGINT NOT NULL,
    trigger_id VARCHAR NOT NULL,
    first_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL,
    enabled TINYINT NOT NULL,
    ts_us BIGINT NOT NULL
);

-- One row: workspace events up to this sequence number are in the states.
CREATE TABLE workspace_folded (through_seq BIGINT NOT NULL);

INSERT INTO workspace_folded VALUES (0);
