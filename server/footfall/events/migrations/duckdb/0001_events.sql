CREATE TABLE api_requests (
    seq BIGINT NOT NULL,
    application_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    consumer_id VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    "function" VARCHAR NOT NULL,
    status_code INTEGER,
    response_us BIGINT NOT NULL,
    data VARCHAR NOT NULL
);

CREATE TABLE web_events (
    seq BIGINT NOT NULL,
    site_id VARCHAR NOT NULL,
    received_us BIGINT NOT NULL,
    key_hi UBIGINT NOT NULL,
    key_lo UBIGINT NOT NULL,
    visits TINYINT NOT NULL,
    event_id VARCHAR NOT NULL,
    ts_us BIGINT NOT NULL,
    local_day INTEGER NOT NULL,
    kind TINYINT NOT NULL,
    excluded TINYINT NOT NULL,
    visitor_id VARCHAR NOT NULL,
    page_id BIGINT NOT NULL,
    medium VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    source_detail VARCHAR NOT NULL,
    referrer_host VARCHAR NOT NULL,
    referrer VARCHAR NOT NULL,
    utm_source VARCHAR NOT NULL,
    utm_medium VARCHAR NOT NULL,
    utm_campaign VARCHAR NOT NULL,
    utm_term VARCHAR NOT NULL,
    utm_content VARCHAR NOT NULL,
    browser VARCHAR NOT NULL,
    os VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    country VARCHAR NOT NULL,
    city VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    timezone VARCHAR NOT NULL,
    screen VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    properties VARCHAR NOT NULL,
    engaged_s DOUBLE NOT NULL
);

-- No keys and no indexes: the one writer keeps these unique, and an index would cost memory and
-- time in every commit.
CREATE TABLE pages (
    page_id BIGINT NOT NULL,
    site_id VARCHAR NOT NULL,
    host VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    author VARCHAR NOT NULL,
    pubdate VARCHAR NOT NULL,
    og_image VARCHAR NOT NULL,
    search_text VARCHAR NOT NULL
);

CREATE TABLE slot15 (
    site_id VARCHAR NOT NULL,
    slot_us BIGINT NOT NULL,
    local_day INTEGER NOT NULL,
    pageviews BIGINT NOT NULL,
    visits BIGINT NOT NULL,
    engaged_us BIGINT NOT NULL
);

CREATE TABLE pageday (
    site_id VARCHAR NOT NULL,
    local_day INTEGER NOT NULL,
    page_id BIGINT NOT NULL,
    pageviews BIGINT NOT NULL,
    visits BIGINT NOT NULL,
    engaged_us BIGINT NOT NULL
);

-- One row: web events up to this sequence number are in the rollups.
CREATE TABLE folded (through_seq BIGINT NOT NULL);

INSERT INTO folded VALUES (0);
