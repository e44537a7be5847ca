-- What the relay (here: outbox_relay) and an application (here: outbox_application) need in the schema (here: public) of an
-- outbox that another role owns.
GRANT USAGE ON SCHEMA public TO outbox_relay, outbox_application;
GRANT SELECT ON skywave_outbox_versions TO outbox_relay;
GRANT SELECT, UPDATE, DELETE ON skywave_outbox TO outbox_relay;
GRANT INSERT ON skywave_outbox_refused TO outbox_relay;
GRANT INSERT (channel, message_id, publisher, data, "binary") ON skywave_outbox TO outbox_application;
