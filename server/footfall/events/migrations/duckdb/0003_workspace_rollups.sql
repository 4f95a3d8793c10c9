-- What workspace events that count as they are add up to, by hour or by day (UTC). No keys: the one
-- writer keeps them unique.
CREATE TABLE operation_days (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    field VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    in_run TINYINT NOT NULL,
    in_conversation TINYINT NOT NULL,
    unpriced_provider VARCHAR NOT NULL,
    unpriced_model VARCHAR NOT NULL,
    events BIGINT NOT NULL,
    tokens_high BIGINT NOT NULL,
    tokens_low BIGINT NOT NULL,
    priced BIGINT NOT NULL,
    cost_pd_high BIGINT NOT NULL,
    cost_pd_low BIGINT NOT NULL,
    cache_cost_pd_high BIGINT NOT NULL,
    cache_cost_pd_low BIGINT NOT NULL,
    unpriced BIGINT NOT NULL
);

CREATE TABLE message_hours (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    role VARCHAR NOT NULL,
    events BIGINT NOT NULL
);

CREATE TABLE api_call_hours (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    endpoint VARCHAR NOT NULL,
    events BIGINT NOT NULL
);

-- One row: workspace events up to this sequence number are in them.
CREATE TABLE workspace_rolled_up (through_seq BIGINT NOT NULL);

INSERT INTO workspace_rolled_up VALUES (0);
