-- A table for each field, so that a question reads the rows of its own. Which models operations without
-- a cost are of is told by the sums by model alone: all others have one row for a value, however many
-- models nobody knows a price of.
CREATE TABLE operation_days_by_tool (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    value VARCHAR NOT NULL,
    in_run TINYINT NOT NULL,
    in_conversation TINYINT NOT NULL,
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

INSERT INTO operation_days_by_tool
SELECT workspace_id, start_us, value, in_run, in_conversation,
    sum(events), sum(tokens_high), sum(tokens_low), sum(priced), sum(cost_pd_high),
    sum(cost_pd_low), sum(cache_cost_pd_high), sum(cache_cost_pd_low), sum(unpriced)
FROM operation_days WHERE field = 'tool' GROUP BY ALL ORDER BY start_us;

CREATE TABLE operation_days_by_model (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    value VARCHAR NOT NULL,
    in_run TINYINT NOT NULL,
    in_conversation TINYINT NOT NULL,
    unpriced_provider VARCHAR NOT NULL,
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

INSERT INTO operation_days_by_model
SELECT workspace_id, start_us, value, in_run, in_conversation, unpriced_provider,
    sum(events), sum(tokens_high), sum(tokens_low), sum(priced), sum(cost_pd_high),
    sum(cost_pd_low), sum(cache_cost_pd_high), sum(cache_cost_pd_low), sum(unpriced)
FROM operation_days WHERE field = 'model' GROUP BY ALL ORDER BY start_us;

CREATE TABLE operation_days_by_workflow (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    value VARCHAR NOT NULL,
    in_run TINYINT NOT NULL,
    in_conversation TINYINT NOT NULL,
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

INSERT INTO operation_days_by_workflow
SELECT workspace_id, start_us, value, in_run, in_conversation,
    sum(events), sum(tokens_high), sum(tokens_low), sum(priced), sum(cost_pd_high),
    sum(cost_pd_low), sum(cache_cost_pd_high), sum(cache_cost_pd_low), sum(unpriced)
FROM operation_days WHERE field = 'workflow_name' GROUP BY ALL ORDER BY start_us;

CREATE TABLE operation_days_by_node (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    value VARCHAR NOT NULL,
    in_run TINYINT NOT NULL,
    in_conversation TINYINT NOT NULL,
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

INSERT INTO operation_days_by_node
SELECT workspace_id, start_us, value, in_run, in_conversation,
    sum(events), sum(tokens_high), sum(tokens_low), sum(priced), sum(cost_pd_high),
    sum(cost_pd_low), sum(cache_cost_pd_high), sum(cache_cost_pd_low), sum(unpriced)
FROM operation_days WHERE field = 'node' GROUP BY ALL ORDER BY start_us;

CREATE TABLE operation_days_by_user (
    workspace_id VARCHAR NOT NULL,
    start_us BIGINT NOT NULL,
    value VARCHAR NOT NULL,
    in_run TINYINT NOT NULL,
    in_conversation TINYINT NOT NULL,
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

INSERT INTO operation_days_by_user
SELECT workspace_id, start_us, value, in_run, in_conversation,
    sum(events), sum(tokens_high), sum(tokens_low), sum(priced), sum(cost_pd_high),
    sum(cost_pd_low), sum(cache_cost_pd_high), sum(cache_cost_pd_low), sum(unpriced)
FROM operation_days WHERE field = 'user_id' GROUP BY ALL ORDER BY start_us;

DROP TABLE operation_days;
