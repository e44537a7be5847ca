-- The transactional outbox: an application inserts here, in the transaction that makes it true, what is to be published.
-- What could never be published is refused here and now. Everything is in the schema that is first on the search path.

CREATE TABLE skywave_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text COLLATE "C" NOT NULL
        CHECK (channel ~ '^[A-Za-z0-9_.@/=+,~#-][A-Za-z0-9_.:@/=+,~#-]{0,254}$'),
    -- The publication's message id; it may be the application's own key.
    message_id text COLLATE "C" NOT NULL DEFAULT gen_random_uuid()::text
        CHECK (message_id ~ '^[!-~]{1,64}$'),
    -- The user it is published for.
    publisher text COLLATE "C"
        CHECK (octet_length(publisher) BETWEEN 1 AND 128 AND publisher !~ '[\x01-\x1f\x7f]'),
    -- One of the two.
    data json,
    "binary" bytea,
    written_at timestamptz NOT NULL DEFAULT now(),
    -- The relay's: publishing has begun, when this was the channel's newest stored position.
    epoch text COLLATE "C",
    after bigint,
    CHECK ((data IS NULL) <> ("binary" IS NULL))
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0
);

-- Rows that the relay could not publish, with the reason.
CREATE TABLE skywave_outbox_refused (
    id bigint PRIMARY KEY,
    channel text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    publisher text COLLATE "C",
    data json,
    "binary" bytea,
    written_at timestamptz NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL
);
